package connect_test

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"ktrdr.io/fleet/test/connect"
)

// specification finds 1Password's OpenAPI document beside the repository; it is not part of it.
func specification(t *testing.T) routers.Router {
	t.Helper()
	dir := os.Getenv("KTRDR_SHARED")
	if dir == "" {
		dir = "../../../shared"
	}
	data, err := os.ReadFile(filepath.Join(dir, "reference/connect-openapi.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("SKIPPED: the stand-in is NOT compared with 1Password's OpenAPI document: %v (KTRDR_SHARED names its folder)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		t.Fatal(err)
	}
	// The router looks at the servers of paths, the document has them at operations.
	for _, item := range doc.Paths.Map() {
		item.Servers = doc.Servers
		if item.Get != nil && item.Get.Servers != nil {
			item.Servers = *item.Get.Servers
		}
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return router
}

// judge sends a request to the server and compares both with the specification.
func judge(t *testing.T, w *world, router routers.Router, method, path, body string) (int, error) {
	t.Helper()
	recorder := &tape{header: http.Header{}}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://localhost:8080"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set("Authorization", "Bearer "+w.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	route, params, err := router.FindRoute(r)
	if err != nil {
		t.Fatalf("%s %s is not in the specification: %v", method, path, err)
	}
	options := &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true,
	}
	input := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: options}
	w.ServeHTTP(recorder, r)
	response := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: recorder.status, Header: recorder.header, Options: options,
	}
	response.SetBodyBytes(recorder.body.Bytes())
	return recorder.status, openapi3filter.ValidateResponse(t.Context(), response)
}

// tape records an answer.
type tape struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *tape) Header() http.Header { return r.header }

func (r *tape) WriteHeader(status int) { r.status = status }

func (r *tape) Write(data []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.body.Write(data)
}

func TestAnswersFollowTheSpecification(t *testing.T) {
	openapi3.DefineStringFormatValidator("uuid", openapi3.NewRegexpFormatValidator(`^([\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}|[\da-z]{26})$`))
	router := specification(t)
	w := newWorld(t)
	vault := "/v1/vaults/" + w.vault
	item := vault + "/items/" + w.item
	items, err := w.Items(w.vault)
	if err != nil {
		t.Fatal(err)
	}
	file := item + "/files/" + items[0].Files[0].ID
	nobody := strings.Repeat("z", 26)
	written := `{"title":"t","category":"LOGIN","vault":{"id":"` + w.vault + `"},"fields":[{"id":"a","type":"STRING","label":"l","value":"v"}]}`
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/heartbeat", "", 200},
		{"GET", "/health", "", 200},
		{"GET", "/metrics", "", 200},
		{"GET", "/v1/vaults", "", 200},
		{"GET", "/v1/vaults?filter=name+eq+%22KTRDR+Homelab+Secrets%22", "", 200},
		{"GET", vault, "", 200},
		{"GET", "/v1/vaults/" + w.far, "", 403},
		{"GET", vault + "/items", "", 200},
		{"GET", vault + "/items?filter=title+eq+%22x%22", "", 200},
		{"POST", vault + "/items", written, 200},
		{"POST", vault + "/items", "{", 400},
		{"GET", item, "", 200},
		{"PUT", item, written, 200},
		{"GET", vault + "/items/" + nobody, "", 404},
		{"GET", item + "/files", "", 200},
		{"GET", item + "/files?inline_files=true", "", 200},
		{"GET", file, "", 200},
		{"GET", file + "?inline_files=true", "", 200},
		{"GET", item + "/files/" + nobody, "", 404},
		{"GET", file + "/content", "", 200},
		{"GET", "/v1/activity", "", 200},
		{"GET", "/v1/activity?limit=1&offset=1", "", 200},
		{"DELETE", item, "", 204},
		{"DELETE", item, "", 404},
	} {
		status, err := judge(t, w, router, c.method, c.path, c.body)
		if status != c.want || err != nil {
			t.Errorf("%s %s: %d, want %d: %v", c.method, c.path, status, c.want, err)
		}
	}
	w.token = ""
	for _, path := range []string{"/v1/vaults", vault, vault + "/items", "/v1/activity"} {
		if status, err := judge(t, w, router, "GET", path, ""); status != 401 || err != nil {
			t.Errorf("%s without a token: %d, %v", path, status, err)
		}
	}
}

// The comparison must find what is wrong: pages of proxies are in no specification.
func TestTheComparisonFindsWhatIsWrong(t *testing.T) {
	router := specification(t)
	w := newWorld(t)
	w.SetQuirks(func(q *connect.Quirks) { q.HTML = 200 })
	if _, err := judge(t, w, router, "GET", "/v1/vaults", ""); err == nil {
		t.Error("a page is taken for a list of vaults")
	}
	w.SetQuirks(func(q *connect.Quirks) { q.HTML, q.Garbage = 0, `[{"id":"short","contentVersion":"x"}]` })
	if _, err := judge(t, w, router, "GET", "/v1/vaults", ""); err == nil {
		t.Error("a list of something else is taken for a list of vaults")
	}
	w.SetQuirks(func(q *connect.Quirks) { q.Garbage, q.LateFirst = "", time.Millisecond })
	if status, err := judge(t, w, router, "GET", "/v1/vaults", ""); status != 200 || err != nil {
		t.Errorf("without quirks: %d, %v", status, err)
	}
}
