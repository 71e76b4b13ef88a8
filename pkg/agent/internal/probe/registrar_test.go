package probe_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/probe"
	"ktrdr.io/fleet/test/leaks"
	"ktrdr.io/fleet/test/port"
)

const workers = `[{"worker_id":"b-1","endpoint_url":"http://b:5003","status":"busy","slots":2,"gpu":false,"none":null,"tags":["a"]},{"worker_id":"b-2"}]`

func TestRegistered(t *testing.T) {
	defer leaks.None(t)()
	var elsewhere, odd atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		_, _ = io.WriteString(w, workers)
	}))
	defer other.Close()
	answers := map[string]string{
		"/list": workers, "/object": `{"success":true,"data":` + workers + `,"total_count":2}`, "/spaces": "\n\t " + workers,
		"/empty": `[]`, "/emptyobject": `{"workers":[]}`, "/nothing": ``, "/html": `<html>hunter2</html>`, "/text": `"hunter2"`,
		"/nolist": `{"success":true}`, "/twolists": `{"a":[],"b":[]}`, "/strings": `["hunter2"]`, "/cut": workers[:40], "/null": `null`,
		"/deep": strings.Repeat("[", 200000) + strings.Repeat("]", 200000),
	}
	mux := http.NewServeMux()
	for path, text := range answers {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" || r.ContentLength > 0 {
				odd.Add(1)
			}
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "x"})
			_, _ = io.WriteString(w, text)
		})
	}
	for path, code := range map[string]int{"/moved": 301, "/found": 302, "/later": 503, "/denied": 401, "/created": 201} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", other.URL)
			w.WriteHeader(code)
			_, _ = io.WriteString(w, workers)
		})
	}
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/drip", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, " "); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	})
	mux.HandleFunc("/huge", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "[")
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, `{"id":"`+strings.Repeat("x", 1<<16)+`"},`); err != nil {
				return
			}
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	secure := httptest.NewTLSServer(mux)
	defer secure.Close()

	cases := []struct {
		url     string
		entries int
		word    string // of the error; empty for none
	}{
		{server.URL + "/list", 2, ""},
		{server.URL + "/list?token=hunter2", 2, ""},
		{server.URL + "/object", 2, ""},
		{server.URL + "/spaces", 2, ""},
		{server.URL + "/empty", 0, ""},
		{server.URL + "/emptyobject", 0, ""},
		{server.URL + "/nothing", 0, "not JSON"},
		{server.URL + "/html?token=hunter2", 0, "not JSON"},
		{server.URL + "/cut", 0, "not JSON"},
		{server.URL + "/deep", 0, "not JSON"},
		{server.URL + "/text", 0, "neither a list"},
		{server.URL + "/null", 0, "neither a list"},
		{server.URL + "/nolist", 0, "neither a list"},
		{server.URL + "/strings", 0, "neither a list"},
		{server.URL + "/twolists", 0, "2 lists"},
		{server.URL + "/moved", 0, "redirects are not followed"},
		{server.URL + "/found", 0, "redirects are not followed"},
		{server.URL + "/later?token=hunter2", 0, "status 503"},
		{server.URL + "/denied", 0, "status 401"},
		{server.URL + "/created", 0, "status 201"},
		{server.URL + "/slow", 0, "deadline"},
		{server.URL + "/drip", 0, "deadline"},
		{server.URL + "/huge", 0, "more than 1048576 bytes"},
		{"http://" + port.Reserve(t) + "/list", 0, "refused"},
		{secure.URL + "/list", 0, "certificate"},
	}
	for _, c := range cases {
		t.Run(strings.TrimPrefix(c.url, server.URL), func(t *testing.T) {
			limit := time.Minute
			if c.word == "deadline" {
				limit = 300 * time.Millisecond
			}
			entries, err := probe.Registered(t.Context(), c.url, limit)
			if c.word == "" && (err != nil || len(entries) != c.entries) {
				t.Fatalf("%d entries, %v; want %d", len(entries), err, c.entries)
			}
			if c.word == "" {
				return
			}
			if !errors.Is(err, probe.ErrNoAnswer) || !strings.Contains(err.Error(), c.word) || entries != nil {
				t.Errorf("%d entries, error %v, want the word %q", len(entries), err, c.word)
			}
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("the error repeats an answer or a query: %v", err)
			}
		})
	}
	if elsewhere.Load() != 0 || odd.Load() != 0 {
		t.Errorf("%d redirects were followed, %d requests were no plain GET", elsewhere.Load(), odd.Load())
	}
}

func TestEntry(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, workers) }))
	defer server.Close()
	entries, err := probe.Registered(t.Context(), server.URL, time.Minute)
	check(t, err)
	for want, fields := range map[string]map[string]string{
		"0": {"endpoint_url": "http://b:5003", "worker_id": "b-1"}, "1": {"worker_id": "b-2"},
	} {
		got := ""
		for i, e := range entries {
			if e.Matches(fields) {
				got += fmt.Sprint(i)
			}
		}
		if got != want {
			t.Errorf("%v matches %s, want %s", fields, got, want)
		}
	}
	for field, want := range map[string]string{"status": "busy", "slots": "2", "gpu": "false", "none": "", "tags": "", "absent": ""} {
		if got := entries[0].Text(field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	for _, fields := range []map[string]string{{"slots": "3"}, {"absent": ""}, {"worker_id": "b-1", "status": "available"}, {}, nil} {
		if entries[0].Matches(fields) {
			t.Errorf("it matches %v", fields)
		}
	}
}
