// SPDX-License-Identifier: Apache-2.0

// yamlcheck reads YAML or JSON documents as kubectl does, strictly (a key given twice is an error),
// and prints {"items": [...]} as JSON. Without a file, or with "-", it reads standard input.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

func decodeJSON(data []byte, items []json.RawMessage) ([]json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	for {
		var document json.RawMessage
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return items, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", len(items)+1, err)
		}
		// JSON is YAML too; this finds keys given twice.
		if _, err = yaml.YAMLToJSONStrict(document); err != nil {
			return nil, fmt.Errorf("document %d: %w", len(items)+1, err)
		}
		items = append(items, document)
	}
}

func decodeYAML(data []byte, items []json.RawMessage) ([]json.RawMessage, error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return items, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", len(items)+1, err)
		}
		document, err := yaml.YAMLToJSONStrict(text)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", len(items)+1, err)
		}
		if !bytes.Equal(document, []byte("null")) {
			items = append(items, document)
		}
	}
}

func readAll(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(name)
}

func run(names []string) error {
	if len(names) == 0 {
		names = []string{"-"}
	}
	items := []json.RawMessage{}
	for _, name := range names {
		data, err := readAll(name)
		if err != nil {
			return err
		}
		decode := decodeYAML
		if utilyaml.IsJSONBuffer(data) {
			decode = decodeJSON
		}
		if items, err = decode(data, items); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"items": items})
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("yamlcheck: ")
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}
