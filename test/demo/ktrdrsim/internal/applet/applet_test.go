package applet_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/applet"
	"ktrdr.io/fleet/test/port"
)

// outcome is what a finished applet leaves.
type outcome struct {
	code        int
	out, errOut string
}

func start(ctx context.Context, env []string, args ...string) outcome {
	var out, errOut bytes.Buffer
	code := applet.Run(ctx, applet.Process{
		Args: args, Environ: env, Stdin: strings.NewReader("from stdin"), Stdout: &out, Stderr: &errOut,
	})
	return outcome{code: code, out: out.String(), errOut: errOut.String()}
}

func TestShell(t *testing.T) {
	env := []string{"WORD=two words", "EMPTY=", "Q=a'b\"c$d\\e\né"}
	for script, want := range map[string]outcome{
		`true`:                              {code: 0},
		`false`:                             {code: 1},
		`exit 7`:                            {code: 7},
		`false || exit 3; echo no`:          {code: 3},
		`true || echo no && echo yes`:       {out: "yes\n"},
		`false && echo no; echo "$?"`:       {out: "1\n"},
		`false; exit`:                       {code: 1},
		"echo a\necho b":                    {out: "a\nb\n"},
		`echo "$WORD" '$WORD' \$x ${WORD}s`: {out: "two words $WORD $x two wordss\n"},
		`echo "$Q"`:                         {out: "a'b\"c$d\\e\né\n"},
		`echo $EMPTY "$EMPTY" x`:            {out: " x\n"},
		`exec echo one && echo two`:         {out: "one\n"},
		`cat`:                               {out: "from stdin"},
		`env WORD && echo`:                  {out: "two words\n"},
		`env MISSING`:                       {code: 1},
		`env`:                               {out: "EMPTY\nQ\nWORD\n"},
		`/usr/bin/tini -- sh -c "exit 4"`:   {code: 4},
		`  `:                                {},
		`echo a | cat`:                      {out: "a\n"},
		`false | echo a | cat`:              {out: "a\n"},
		`false && echo a | cat`:             {code: 1},
		`echo a | false || echo b`:          {out: "b\n"},
		`new=$(cat) && echo "<$new>"`:       {out: "<from stdin>\n"},
		`a=1; b="$a 2"; echo $b`:            {out: "1 2\n"},
		`WORD=other; env WORD`:              {out: "other"},
		`new=1; env new`:                    {code: 1},
		`a=$(false) || echo $?`:             {out: "1\n"},
		`echo $(echo "a)"; echo $(echo b))`: {out: "a)\nb\n"},
		`echo a=b "a"=b $EMPTY`:             {out: "a=b a=b\n"},
		`printf '%s\n%s\n' a`:               {out: "a\n\n"},
		`printf '%s%%\n' a b`:               {out: "a%\nb%\n"},
		`printf x`:                          {out: "x"},
	} {
		t.Run(script, func(t *testing.T) {
			if got := start(t.Context(), env, "/bin/sh", "-c", script); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestShellRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, script := range []string{
		`echo a > /tmp/x`, `cat < x`, "echo `x`", `echo $(x`, `sleep 1 &`, `echo a |`, `a=b echo c`, `printf %d 1`, `printf '%'`, `echo "a`, `echo 'a`, `true &&`,
		`echo ${X:-y}`, `echo $`, `echo \`, `(true)`,
	} {
		t.Run(script, func(t *testing.T) {
			got := start(t.Context(), nil, "sh", "-c", script)
			if got.code != 2 || got.errOut == "" {
				t.Errorf("got %+v, want code 2 with a reason", got)
			}
		})
	}
	if got := start(t.Context(), nil, "sh", "-c", "no-such-program"); got.code != 127 {
		t.Errorf("unknown program: %+v", got)
	}
}

func FuzzShell(f *testing.F) {
	f.Add(`false || echo "$A" && exit 3; ${B}`)
	f.Fuzz(func(t *testing.T, word string) {
		// Only echo runs: a fuzzed word must never reach a program of the machine.
		got := start(t.Context(), nil, "sh", "-c", "echo '"+strings.ReplaceAll(word, "'", "")+"' \""+quotable(word)+"\"")
		if got.code != 0 {
			t.Errorf("quoted %q: %+v", word, got)
		}
	})
}

// quotable is word without what ends or expands a double-quoted string.
func quotable(word string) string {
	return strings.NewReplacer(`"`, "", `\`, "", "$", "", "`", "").Replace(word)
}

func TestCurlAndWget(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			http.Error(w, "bad", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(r.Method + " ok"))
	}))
	defer srv.Close()
	dead := "http://" + port.Reserve(t)
	for name, test := range map[string]struct {
		args []string
		code int
		out  string
	}{
		"health":       {args: []string{"curl", "-f", srv.URL}, out: "GET ok"},
		"joined":       {args: []string{"curl", "-fsS", srv.URL + "/bad"}, code: 22},
		"without -f":   {args: []string{"curl", "-s", srv.URL + "/bad"}, out: "bad\n"},
		"post":         {args: []string{"curl", "-d", "{}", srv.URL}, out: "POST ok"},
		"method":       {args: []string{"curl", "-X", "PUT", srv.URL, "-o", "/dev/null"}},
		"nobody":       {args: []string{"curl", "-f", dead}, code: 7},
		"no URL":       {args: []string{"curl", "-f"}, code: 2},
		"odd option":   {args: []string{"curl", "--proxy", "x", srv.URL}, code: 2},
		"spider":       {args: []string{"wget", "--spider", "-q", srv.URL}},
		"spider bad":   {args: []string{"wget", "--spider", "-q", srv.URL + "/bad"}, code: 8},
		"wget nobody":  {args: []string{"wget", "-q", dead}, code: 4},
		"wget to out":  {args: []string{"wget", "-qO-", srv.URL}, out: "GET ok"},
		"odd wget opt": {args: []string{"wget", "--x", srv.URL}, code: 2},
	} {
		t.Run(name, func(t *testing.T) {
			got := start(t.Context(), nil, test.args...)
			if got.code != test.code || got.out != test.out {
				t.Errorf("got %+v, want code %d and %q", got, test.code, test.out)
			}
		})
	}
}

func TestServicesExitWithAReasonWhenMisconfigured(t *testing.T) {
	secret := "short-but-secret"
	workerEnv := []string{"KTRDR_API_CLIENT_BASE_URL=http://backend:8000"}
	for name, test := range map[string]struct {
		env    []string
		args   []string
		code   int
		reason string
	}{
		"backend without database": {args: []string{"ktrdrsim", "backend"}, code: 1, reason: "DB_HOST"},
		"backend, short secret": {
			env:  []string{"KTRDR_DB_HOST=db", "KTRDR_AUTH_JWT_SECRET=" + secret},
			args: []string{"python", "-m", "uvicorn", "ktrdr.api.main:app", "--host", "0.0.0.0", "--port", "8000"},
			code: 1, reason: "16 characters",
		},
		"worker without URL": {
			env:  workerEnv,
			args: []string{"python", "-m", "uvicorn", "ktrdr.backtesting.backtest_worker:app", "--port", "5003"},
			code: 1, reason: "WORKER_PUBLIC_BASE_URL) is not set",
		},
		"worker of no type":       {env: workerEnv, args: []string{"ktrdrsim", "worker"}, code: 1, reason: "worker type"},
		"unknown module":          {args: []string{"uvicorn", "x:app"}, code: 1, reason: "could not import"},
		"python without uvicorn":  {args: []string{"python", "-c", "1"}, code: 2, reason: "-m uvicorn"},
		"database without data":   {args: []string{"postgres"}, code: 1, reason: "PGDATA"},
		"database, no password":   {env: []string{"PGDATA=" + t.TempDir()}, args: []string{"ktrdrsim", "db"}, code: 1, reason: "POSTGRES_PASSWORD"},
		"prometheus without file": {args: []string{"prometheus", "--config.file=/no/such"}, code: 1, reason: "load configuration"},
		"prometheus, directory":   {args: []string{"prometheus", "--config.file=" + t.TempDir()}, code: 1, reason: "load configuration"},
		"unknown applet":          {args: []string{"ktrdrsim", "no-such-applet"}, code: 127, reason: "not found"},
		"nothing":                 {args: []string{"ktrdrsim"}, code: 2, reason: "usage"},
		"fail-after":              {args: []string{"fail-after", "0", "9"}, code: 9},
		"sleep nonsense":          {args: []string{"sleep", "long"}, code: 1, reason: "invalid time interval"},
	} {
		t.Run(name, func(t *testing.T) {
			got := start(t.Context(), test.env, test.args...)
			if got.code != test.code || !strings.Contains(got.errOut, test.reason) {
				t.Errorf("got %+v, want code %d with %q", got, test.code, test.reason)
			}
			if strings.Contains(got.errOut, secret) {
				t.Errorf("%q shows the secret", got.errOut)
			}
		})
	}
}

func TestSleepEndsOnTerm(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, length := range []string{"infinity", "3600", "1h"} {
		if got := start(ctx, nil, "sleep", length); got.code != 143 {
			t.Errorf("sleep %s: %+v", length, got)
		}
	}
}

func TestExternalProgramKeepsItsExitCode(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexit 42\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := start(t.Context(), nil, "tini", "--", program); got.code != 42 {
		t.Errorf("got %+v", got)
	}
}
