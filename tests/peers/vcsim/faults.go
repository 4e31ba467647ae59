// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// frontFault makes the next Times calls of Method fail, after Skip that pass. What Mode says:
//
//	status       answers Status with a page, as a proxy does; nothing is carried out
//	nothing      answers that it was done; nothing is carried out
//	garbage      answers 200 with a page of somebody else's; nothing is carried out
//	drop-before  closes the connection; nothing is carried out
//	drop-after   carries it out, and closes the connection without an answer
//	reset-before, reset-after  the same with a TCP reset
//	cut          carries it out, and closes the connection in the middle of the answer
//	slow         carries it out, and lets the answer trickle for DelayMs
//	late         carries it out, and answers DelayMs later
//	twice        carries it out twice, as a proxy that repeats a request does, and gives the second answer
//	duplicate    gives the answer twice on the connection
//	expire       all sessions end just before it
//	fault        answers with Fault, a type of the API; nothing is carried out
//	fault-after  carries it out, and answers with Fault all the same
//	task         answers with a task of Fault that ends badly; nothing is carried out
//	task-after   carries it out, and answers with a task that ends badly all the same
type frontFault struct {
	Method  string `json:"method"`
	Mode    string `json:"mode"`
	Fault   string `json:"fault"`
	Message string `json:"message"`
	Status  int    `json:"status"`
	DelayMs int    `json:"delayMs"`
	Times   int    `json:"times"`
	Skip    int    `json:"skip"`
}

var frontModes = map[string]bool{
	"status": true, "garbage": true, "drop-before": true, "drop-after": true, "reset-before": true, "reset-after": true,
	"nothing": true, "cut": true, "slow": true, "late": true, "twice": true, "duplicate": true, "expire": true, "task": true,
	"task-after": true, "fault": true, "fault-after": true,
}

// namedFault makes a fault by the name of its type in the API.
func namedFault(name string) (types.BaseMethodFault, error) {
	typ, ok := types.TypeFunc()(name)
	if ok && typ.Kind() == reflect.Struct {
		if fault, is := reflect.New(typ).Interface().(types.BaseMethodFault); is {
			return fault, nil
		}
	}
	return nil, fmt.Errorf("%q is no type of a fault", name)
}

// baseOf is the type that a fault's type extends, which govmomi embeds as its first member.
func baseOf(typ reflect.Type) (reflect.Type, bool) {
	if typ.Kind() != reflect.Struct || typ.NumField() == 0 || !typ.Field(0).Anonymous {
		return nil, false
	}
	return typ.Field(0).Type, true
}

// faultBases is the chain of types above a fault's.
func faultBases(name string) ([]string, error) {
	if _, err := namedFault(name); err != nil {
		return nil, err
	}
	typ, _ := types.TypeFunc()(name)
	bases := []string{}
	for base, ok := baseOf(typ); ok; base, ok = baseOf(base) {
		bases = append(bases, base.Name())
	}
	return bases, nil
}

func (f *front) takeFault(name string) *frontFault {
	for _, fault := range f.faults {
		if fault.Times == 0 || !fault.of(name) {
			continue
		}
		if fault.Skip > 0 {
			fault.Skip--
			continue
		}
		fault.Times--
		f.faultsInjected++
		f.faultsAt[name]++
		taken := *fault
		return &taken
	}
	return nil
}

// of: a method by name, "*" any, "*_Task" those that answer with a task.
func (x *frontFault) of(name string) bool {
	return x.Method == "*" || x.Method == name || (x.Method == "*_Task" && strings.HasSuffix(name, "_Task"))
}

const page = "<html><head><title>%[1]d</title></head><body><h1>%[1]d asked for by the test</h1></body></html>\n"

func (f *front) fail(w http.ResponseWriter, r *http.Request, name string, fault *frontFault) {
	switch fault.Mode {
	case "status":
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(fault.Status)
		_, _ = fmt.Fprintf(w, page, fault.Status)
	case "garbage":
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, page, http.StatusOK)
	case "nothing":
		writeEnvelope(w, http.StatusOK, struct {
			Res emptyResponse
		}{emptyResponse{XMLName: xml.Name{Local: name + "Response"}, NS: "urn:vim25"}})
	case "drop-before":
		panic(http.ErrAbortHandler)
	case "reset-before":
		resetConnection(r)
	case "expire":
		f.expireSessions()
		f.next.ServeHTTP(w, r)
	case "fault":
		f.answerFault(w, fault)
	case "task":
		text, _ := io.ReadAll(r.Body)
		f.answerTask(w, name, text, fault)
	default:
		f.failAfter(w, r, name, fault)
	}
}

// failAfter is what fails when the call has been carried out.
func (f *front) failAfter(w http.ResponseWriter, r *http.Request, name string, fault *frontFault) {
	text, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(text))
	answer := httptest.NewRecorder()
	f.next.ServeHTTP(answer, r)
	switch fault.Mode {
	case "drop-after":
		panic(http.ErrAbortHandler)
	case "reset-after":
		resetConnection(r)
	case "fault-after":
		f.answerFault(w, fault)
	case "task-after":
		f.answerTask(w, name, text, fault)
	case "twice":
		again := r.Clone(r.Context())
		again.Body = io.NopCloser(bytes.NewReader(text))
		answer = httptest.NewRecorder()
		f.next.ServeHTTP(answer, again)
		writeWhole(w, answer)
	case "late":
		time.Sleep(time.Duration(fault.DelayMs) * time.Millisecond)
		writeWhole(w, answer)
	case "slow":
		writeSlowly(w, answer, time.Duration(fault.DelayMs)*time.Millisecond)
	case "cut":
		writeHead(w, answer)
		_, _ = w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
		flush(w)
		panic(http.ErrAbortHandler)
	case "duplicate":
		writeTwice(w, answer)
	}
}

func writeHead(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	for key, values := range answer.Result().Header {
		w.Header()[key] = values
	}
	w.Header().Set("Content-Length", fmt.Sprint(answer.Body.Len()))
	w.WriteHeader(answer.Code)
}

func writeWhole(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	writeHead(w, answer)
	_, _ = w.Write(answer.Body.Bytes())
}

func flush(w http.ResponseWriter) {
	_ = http.NewResponseController(w).Flush()
}

func writeSlowly(w http.ResponseWriter, answer *httptest.ResponseRecorder, during time.Duration) {
	const pieces = 16
	body := answer.Body.Bytes()
	writeHead(w, answer)
	for i := range pieces {
		_, _ = w.Write(body[i*len(body)/pieces : (i+1)*len(body)/pieces])
		flush(w)
		time.Sleep(during / pieces)
	}
}

// writeTwice leaves a second answer on the connection, which nobody has asked for.
func writeTwice(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		writeWhole(w, answer)
		return
	}
	var text bytes.Buffer
	head := answer.Result()
	head.ContentLength = int64(answer.Body.Len())
	head.TransferEncoding = nil
	if err = head.Write(&text); err == nil {
		_, _ = conn.Write(append(text.Bytes(), text.Bytes()...))
	}
	time.Sleep(50 * time.Millisecond)
	_ = conn.Close()
}

// resetConnection ends the connection with a TCP reset instead of a TLS goodbye.
func resetConnection(r *http.Request) {
	if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		if inner, is := conn.(interface{ NetConn() net.Conn }); is {
			conn = inner.NetConn()
		}
		if tcp, is := conn.(*net.TCPConn); is {
			_ = tcp.SetLinger(0)
			_ = tcp.Close()
		}
	}
	panic(http.ErrAbortHandler)
}

// envelope is what vCenter puts around an answer; the prefixes of the types in it are declared here.
type envelope struct {
	XMLName xml.Name `xml:"soapenv:Envelope"`
	Env     string   `xml:"xmlns:soapenv,attr"`
	XSD     string   `xml:"xmlns:xsd,attr"`
	XSI     string   `xml:"xmlns:xsi,attr"`
	Body    any      `xml:"soapenv:Body"`
}

func writeEnvelope(w http.ResponseWriter, status int, body any) {
	var text bytes.Buffer
	text.WriteString(xml.Header)
	err := xml.NewEncoder(&text).Encode(&envelope{
		Env: "http://schemas.xmlsoap.org/soap/envelope/", XSD: "http://www.w3.org/2001/XMLSchema",
		XSI: "http://www.w3.org/2001/XMLSchema-instance", Body: body,
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(text.Bytes())
}

type faultDetail struct {
	Fault types.BaseMethodFault
}

// MarshalXML names the element as vCenter does: the fault's type with "Fault" behind it, and the type in xsi:type.
func (d faultDetail) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	kind := reflect.TypeOf(d.Fault).Elem().Name()
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	inner := xml.StartElement{
		Name: xml.Name{Local: kind + "Fault"},
		Attr: []xml.Attr{
			{Name: xml.Name{Local: "xmlns"}, Value: "urn:vim25"},
			{Name: xml.Name{Local: "xsi:type"}, Value: kind},
		},
	}
	if err := e.EncodeElement(d.Fault, inner); err != nil {
		return err
	}
	return e.EncodeToken(start.End())
}

func (f *front) answerFault(w http.ResponseWriter, fault *frontFault) {
	detail, err := namedFault(fault.Fault)
	if err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	type soapFault struct {
		Code   string      `xml:"faultcode"`
		String string      `xml:"faultstring"`
		Detail faultDetail `xml:"detail"`
	}
	writeEnvelope(w, http.StatusInternalServerError, struct {
		Fault soapFault `xml:"soapenv:Fault"`
	}{soapFault{"ServerFaultCode", fault.Message, faultDetail{detail}}})
}

// soapThis is the object that a request is about.
func soapThis(body []byte) types.ManagedObjectReference {
	ref := types.ManagedObjectReference{}
	decoder := xml.NewDecoder(bytes.NewReader(body))
	for {
		token, err := decoder.Token()
		if err != nil {
			return ref
		}
		if element, ok := token.(xml.StartElement); ok && element.Name.Local == "_this" {
			_ = decoder.DecodeElement(&ref, &element)
			return ref
		}
	}
}

type emptyResponse struct {
	XMLName xml.Name
	NS      string `xml:"xmlns,attr"`
}

// answerTask begins a task of the simulator that does nothing but end badly, after the usual delay of tasks.
func (f *front) answerTask(w http.ResponseWriter, name string, request []byte, fault *frontFault) {
	why, err := namedFault(fault.Fault)
	if err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	ctx := adminContext(f.model)
	id := strings.TrimSuffix(strings.TrimSuffix(name, "_Task"), "VM")
	if id == "Clone" {
		id = "clone" // of its description, by which running clones are found
	}
	task := simulator.CreateTask(soapThis(request), id,
		func(*simulator.Task) (types.AnyType, types.BaseMethodFault) { return nil, why })
	ref := task.Run(ctx)
	type response struct {
		XMLName xml.Name
		NS      string                       `xml:"xmlns,attr"`
		Ref     types.ManagedObjectReference `xml:"returnval"`
	}
	writeEnvelope(w, http.StatusOK, struct {
		Res response
	}{response{XMLName: xml.Name{Local: name + "Response"}, NS: "urn:vim25", Ref: ref}})
}

// countingWriter adds what is sent to the front's count of bytes.
type countingWriter struct {
	http.ResponseWriter
	front *front
}

func (c *countingWriter) Write(data []byte) (int, error) {
	n, err := c.ResponseWriter.Write(data)
	c.front.mu.Lock()
	c.front.bytes += int64(n)
	c.front.mu.Unlock()
	return n, err
}

// Unwrap gives http.ResponseController what it flushes and hijacks.
func (c *countingWriter) Unwrap() http.ResponseWriter {
	return c.ResponseWriter
}
