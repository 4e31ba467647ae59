// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// front stands between the connections and the simulator: it counts, and it fails calls on demand in
// ways that the simulator's own fault rules cannot (a status without a fault, a reply that is lost
// after the call was carried out).
type front struct {
	model  *simulator.Model
	url    url.URL
	server *http.Server
	next   http.Handler

	mu             sync.Mutex
	start, reset   map[string]int
	connections    map[net.Conn]struct{}
	connMax        int
	connMaxReset   int
	connTotal      int
	sessMax        int
	sessMaxReset   int
	restSessions   map[string]struct{}
	faults         []*frontFault
	faultsInjected int
	faultsAt       map[string]int // methods that faults came to
	delay          time.Duration  // of every call
	bytes          int64          // bodies of requests and answers since the reset

	clones *cloneSpecs
}

// serveFront lets the simulator set itself up, and serves what it set up on a listener of its own.
func serveFront(model *simulator.Model, listen string, user *url.Userinfo, config *tls.Config,
	powerOnDelay time.Duration) (*front, error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	f := &front{
		model: model, url: url.URL{Scheme: "https", Host: listener.Addr().String(), Path: "/sdk"},
		start: map[string]int{}, reset: map[string]int{},
		connections: map[net.Conn]struct{}{}, restSessions: map[string]struct{}{},
		clones:   &cloneSpecs{specs: map[string]*types.VirtualMachineConfigSpec{}},
		faultsAt: map[string]int{},
	}
	model.Map().AddHandler(f.clones)
	model.Map().AddHandler(reasons{})
	service := model.Service
	service.Listen = &url.URL{Host: "127.0.0.1:0", User: user}
	service.RegisterEndpoints = true
	theirs := service.NewServer()
	f.next = &powerOns{model: model, front: f, next: theirs.Config.Handler, delay: powerOnDelay, busy: map[string]int{}}
	theirs.Close()
	service.Listen.Scheme, service.Listen.Host = f.url.Scheme, f.url.Host
	model.Map().SessionManager().ServiceHostName = f.url.Host

	f.server = &http.Server{
		Handler: f, ConnState: f.connState,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
		TLSConfig: config, ReadHeaderTimeout: time.Minute,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1, as vCenter
	}
	go func() {
		if err := f.server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	return f, nil
}

func (f *front) close() {
	_ = f.server.Close()
}

func (f *front) connState(conn net.Conn, state http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch state {
	case http.StateNew:
		f.connections[conn] = struct{}{}
		f.connTotal++
		f.connMax = max(f.connMax, len(f.connections))
		f.connMaxReset = max(f.connMaxReset, len(f.connections))
	case http.StateClosed, http.StateHijacked:
		delete(f.connections, conn)
	}
}

// soapMethod names the call: the first element inside the envelope's Body.
func soapMethod(body []byte) string {
	decoder := xml.NewDecoder(bytes.NewReader(body))
	inBody := false
	for {
		token, err := decoder.RawToken()
		if err != nil {
			return "unreadable"
		}
		if element, ok := token.(xml.StartElement); ok {
			if inBody {
				return element.Name.Local
			}
			inBody = element.Name.Local == "Body"
		}
	}
}

const restSessionPath = "/rest/com/vmware/cis/session"

type connKey struct{}

// forgetEarly stops counting the connection when its client has closed it, though a call still runs on it, as
// a wait for updates does for a while. It returns what ends the watch over it.
func (f *front) forgetEarly(r *http.Request) func() bool {
	conn, ok := r.Context().Value(connKey{}).(net.Conn)
	if !ok {
		return func() bool { return true }
	}
	return context.AfterFunc(r.Context(), func() {
		f.mu.Lock()
		delete(f.connections, conn)
		f.mu.Unlock()
	})
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var this types.ManagedObjectReference
	name := r.Method + " " + r.URL.Path
	stop := f.forgetEarly(r)
	defer stop()
	if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/sdk") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		name = soapMethod(body)
		switch name {
		case "CloneVM_Task":
			f.clones.note(body)
		case "CancelTask":
			this = soapThis(body)
		case "RecommendDatastores":
			body = forPod(body)
			r.ContentLength = int64(len(body))
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}

	f.mu.Lock()
	f.start[name]++
	f.reset[name]++
	f.bytes += r.ContentLength
	fault := f.takeFault(name)
	delay := f.delay
	f.mu.Unlock()
	time.Sleep(delay)

	counted := &countingWriter{ResponseWriter: w, front: f}
	switch {
	case fault == nil && r.URL.Path == restSessionPath:
		f.serveRestSession(counted, r)
	case fault == nil && name == "CancelTask":
		f.cancelTask(counted, r, this)
	case fault == nil:
		f.next.ServeHTTP(counted, r)
	default:
		f.fail(counted, r, name, fault)
	}
	if name == "Login" {
		f.noteSessions()
	}
}

func (f *front) serveRestSession(w http.ResponseWriter, r *http.Request) {
	recorder := httptest.NewRecorder()
	f.next.ServeHTTP(recorder, r)
	result := recorder.Result()

	f.mu.Lock()
	if r.Method == http.MethodDelete {
		if cookie, err := r.Cookie("vmware-api-session-id"); err == nil {
			delete(f.restSessions, cookie.Value)
		}
		delete(f.restSessions, r.Header.Get("vmware-api-session-id"))
	}
	if r.Method == http.MethodPost && result.StatusCode == http.StatusOK && r.URL.RawQuery == "" {
		value := strings.Trim(recorder.Body.String(), "{}\n\"")
		value = strings.TrimPrefix(value, "value\":\"")
		f.restSessions[value] = struct{}{}
	}
	f.mu.Unlock()

	for key, values := range result.Header {
		w.Header()[key] = values
	}
	w.WriteHeader(result.StatusCode)
	_, _ = w.Write(recorder.Body.Bytes())
}

// adminContext is a fresh owner of locks with a session of its own, which is not among those counted.
func adminContext(model *simulator.Model) *simulator.Context {
	ctx := *model.Service.Context
	ctx.Session = &simulator.Session{
		UserSession: types.UserSession{Key: "pcg-tests"},
		Registry:    simulator.NewRegistry(),
		Map:         model.Map(),
	}
	return &ctx
}

func (f *front) sessions() []types.UserSession {
	ctx := adminContext(f.model)
	view := ctx.Session.Get(f.model.Map().SessionManager().Self).(*simulator.SessionManager)
	return view.SessionList
}

func (f *front) noteSessions() {
	n := len(f.sessions())
	f.mu.Lock()
	f.sessMax = max(f.sessMax, n)
	f.sessMaxReset = max(f.sessMaxReset, n)
	f.mu.Unlock()
}

// expireSessions ends all sessions as vCenter does with idle ones, and says how many there were.
func (f *front) expireSessions() int {
	sessions := f.sessions()
	ctx := adminContext(f.model)
	for _, session := range sessions {
		f.model.Map().SessionManager().TerminateSession(ctx,
			&types.TerminateSession{SessionId: []string{session.Key}})
	}
	f.mu.Lock()
	rest := make([]string, 0, len(f.restSessions))
	for id := range f.restSessions {
		rest = append(rest, id)
		delete(f.restSessions, id)
	}
	f.mu.Unlock()
	for _, id := range rest {
		r := httptest.NewRequest(http.MethodDelete, restSessionPath, nil)
		r.Header.Set("vmware-api-session-id", id)
		f.next.ServeHTTP(httptest.NewRecorder(), r)
	}
	return len(sessions) + len(rest)
}
