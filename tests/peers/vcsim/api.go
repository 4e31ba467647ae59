// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/vmware/govmomi/simulator"
)

// api is /api of a vCenter 7.0 U2 and newer before the simulator, which has tags and libraries at /rest alone. Paths, parameters, bodies and
// answers are those of the vSphere Automation API reference ("Cis Tagging", "Content Library", "Cis Session"); what is asked
// otherwise is not found.
type api struct {
	mux *http.ServeMux
}

func serveAPI(model *simulator.Model) {
	if model.Service.ServeMux == nil {
		model.Service.ServeMux = http.NewServeMux()
	}
	a := &api{mux: model.Service.ServeMux}
	for _, path := range []string{"/api/session", "/api/cis/tagging/", "/api/content/library", "/api/content/library/"} {
		a.mux.Handle(path, a)
	}
}

// apiActions: the members of the body, by service and action. None of these has an id in its path.
var apiActions = map[string][]string{
	"cis/tagging/tag list-tags-for-category":                     {"category_id"},
	"cis/tagging/tag-association list-attached-tags":             {"object_id"},
	"cis/tagging/tag-association attach-multiple-tags-to-object": {"object_id", "tag_ids"},
}

var apiServices = []string{"cis/tagging/category", "cis/tagging/tag", "content/library/item", "content/library"}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/api/")
	action := r.URL.Query().Get("action")
	switch {
	case path == "session":
		a.answer(w, a.forward(r, "cis/session", "", nil), http.StatusCreated)
	case r.Method == http.MethodPost && apiActions[path+" "+action] != nil:
		a.act(w, r, path, action)
	case r.Method == http.MethodGet && action == "":
		a.get(w, r, path)
	default:
		apiError(w, http.StatusNotFound, "NOT_FOUND")
	}
}

func (a *api) act(w http.ResponseWriter, r *http.Request, path, action string) {
	var body map[string]json.RawMessage
	text, _ := io.ReadAll(r.Body)
	if json.Unmarshal(text, &body) != nil || len(body) != len(apiActions[path+" "+action]) {
		apiError(w, http.StatusBadRequest, "INVALID_ARGUMENT")
		return
	}
	for _, member := range apiActions[path+" "+action] {
		if _, ok := body[member]; !ok {
			apiError(w, http.StatusBadRequest, "INVALID_ARGUMENT")
			return
		}
	}
	if id, ok := body["category_id"]; ok {
		path += "/id:" + strings.Trim(string(id), `"`)
		text = nil
	}
	a.answer(w, a.forward(r, path, "~action="+action, text), http.StatusOK)
}

func (a *api) get(w http.ResponseWriter, r *http.Request, path string) {
	for _, service := range apiServices {
		id, ok := strings.CutPrefix(path, service+"/")
		if path == service {
			a.answer(w, a.forward(r, service, r.URL.RawQuery, nil), http.StatusOK)
			return
		}
		if ok && !strings.Contains(id, "/") {
			a.answer(w, a.forward(r, service+"/id:"+id, "", nil), http.StatusOK)
			return
		}
	}
	apiError(w, http.StatusNotFound, "NOT_FOUND")
}

func (a *api) forward(r *http.Request, path, query string, body []byte) *httptest.ResponseRecorder {
	there := r.Clone(r.Context())
	there.URL = &url.URL{Path: "/rest/com/vmware/" + path, RawQuery: query}
	there.RequestURI = there.URL.RequestURI()
	there.Body = io.NopCloser(bytes.NewReader(body))
	there.ContentLength = int64(len(body))
	answer := httptest.NewRecorder()
	a.mux.ServeHTTP(answer, there)
	return answer
}

// answer takes away what /rest wraps values and errors in.
func (a *api) answer(w http.ResponseWriter, answer *httptest.ResponseRecorder, status int) {
	var reply struct {
		Value json.RawMessage `json:"value"`
		Type  string          `json:"type"`
	}
	_ = json.Unmarshal(answer.Body.Bytes(), &reply)
	if answer.Code >= http.StatusBadRequest {
		name := strings.ToUpper(strings.TrimPrefix(reply.Type, "com.vmware.vapi.std.errors."))
		if name == "" {
			name = map[int]string{http.StatusNotFound: "NOT_FOUND", http.StatusUnauthorized: "UNAUTHENTICATED"}[answer.Code]
		}
		apiError(w, answer.Code, name)
		return
	}
	if len(reply.Value) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(reply.Value)
}

func apiError(w http.ResponseWriter, status int, name string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error_type": name, "messages": []string{}})
}
