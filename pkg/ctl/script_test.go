package ctl_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/ctl"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/pkg/telemetry"
)

var update = flag.Bool("update", false, "rewrite expected files")

// patience only keeps a script from waiting for ever.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"ktrdrctl": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			defer stop()
			os.Exit(ctl.Main(ctx, ctl.Process{Args: os.Args[1:], Env: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}))
		},
	})
}

// TestScripts runs every verb as a process of its own against the agent's real handlers.
// The scripts have these commands beside testscript's:
//
//	agent SCENE     serve a report of that scene on $WORK/agent.sock, and set KTRDR_AGENT
//	agent http SCENE  the same for reading, on a TCP address
//	scene SCENE     change it
//	stop-agent      end it
//	exit CODE CMD…  run ktrdrctl and want that exit code
//	shows PATTERN ARGS…  run ktrdrctl until its output matches
//	start ARGS…     run ktrdrctl beside the script, with its output in the files out and err
//	terminal ARGS…  the same on a terminal that script(1) makes
//	poll PATTERN [FILE]  wait until out, or that file, matches
//	interrupt [CODE]  send it SIGINT, or ^C, and want it to end with 0 or that code
//	ended CODE      want it to end by itself with that code
//	notagent        serve something that is no agent
//	controller SCENE  serve a fake controller over TLS, with a context for an admin
//	fleet SCENE     change its state, or queue logs and events
//	token TOKEN     be somebody else
//	called TEXT     want a request "Method {json}" to have come
//	stop-controller, restart-controller
//	badcert KIND    make the context lead to a server with another certificate
//	client KIND     make the context show a certificate
//	hang            make the controller answer WhoAmI never
//	askfor HOST     write what git asks a credential helper for that host into the file ask
//	follow REPO     make the agent converge at that repository's main when it is asked to look
//	held STACK TEXT want the backend to have a hold with that reason, or none when TEXT is empty
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("KTRDR_AGENT", "unix://"+filepath.Join(env.WorkDir, "agent.sock"))
			env.Setenv("NO_COLOR", "1")
			env.Setenv("TZ", "UTC")
			env.Values[fleetKey{}] = &fleet{}
			return nil
		},
		Condition: func(name string) (bool, error) { return name == "root" && os.Getuid() == 0, nil },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"agent": cmdAgent, "scene": cmdScene, "stop-agent": cmdStop, "exit": cmdExit, "shows": cmdShows, "held": cmdHeld,
			"start": cmdStart, "terminal": cmdTerminal, "poll": cmdPoll, "interrupt": cmdInterrupt, "ended": cmdEnded, "notagent": cmdNotAgent,
			"badcert": cmdBadCert, "client": cmdClient, "hang": cmdHang, "follow": cmdFollow, "askfor": cmdAskFor,
			"controller": cmdController, "fleet": cmdFleet, "token": cmdToken, "called": cmdCalled, "stop-controller": cmdStopController, "restart-controller": cmdRestartController,
		},
	})
}

type fleetKey struct{}

// fleet is the agent of one script.
type fleet struct {
	report  *report.Report
	secrets atomic.Pointer[api.SecretsStatus]
	back    *backend
	stop    func()
	beside  *exec.Cmd
	keys    io.WriteCloser // of the terminal; nil without one
	// controller is the fake one, where the script has one.
	controller *fakeFleet
}

func fleetOf(ts *testscript.TestScript) *fleet { return ts.Value(fleetKey{}).(*fleet) }

func cmdAgent(ts *testscript.TestScript, neg bool, args []string) {
	f := fleetOf(ts)
	f.report = report.New(report.Config{Node: "b", Log: slog.New(slog.DiscardHandler), Secrets: func() api.SecretsStatus { return *f.secrets.Load() }, Source: sourceOf(ts.Getenv("SOURCE"))})
	f.secrets.Store(&api.SecretsStatus{Node: "b", Time: time.Now(), Providers: []api.ProviderState{}, Secrets: []api.SecretStatus{}})
	f.back = &backend{report: f.report, holds: map[string]*api.Hold{}}
	scene := args[len(args)-1]
	ts.Check(f.play(scene))
	if args[0] == "http" {
		s := httptest.NewServer(f.report.ReadHandler(f.back))
		ts.Setenv("KTRDR_AGENT", s.URL)
		f.stop = sync.OnceFunc(s.Close)
		ts.Defer(f.stop)
		return
	}
	l, err := telemetry.ListenUnix(context.Background(), ts.MkAbs("agent.sock"))
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = telemetry.Serve(ctx, l, f.report.Handler(f.back))
	}()
	f.stop = func() { cancel(); <-ended }
	ts.Defer(f.stop)
}

// sourceOf is what an agent says of a source that is written KIND or KIND:PLACE.
func sourceOf(text string) report.Source {
	switch kind, place, _ := strings.Cut(text, ":"); kind {
	case "git":
		return report.Source{Kind: kind, URL: place, Branch: "main", SubFolder: "state"}
	case "dir":
		return report.Source{Kind: kind, Path: place}
	default:
		return report.Source{Kind: kind, Endpoints: []string{"c.example:8443"}}
	}
}

func cmdScene(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(fleetOf(ts).play(args[0]))
}

func cmdStop(ts *testscript.TestScript, neg bool, args []string) { fleetOf(ts).stop() }

func cmdExit(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("ktrdrctl", args[1:]...)
	got := 0
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d\nstdout:\n%sstderr:\n%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

func cmdHeld(ts *testscript.TestScript, neg bool, args []string) {
	b := fleetOf(ts).back
	b.mu.Lock()
	defer b.mu.Unlock()
	got := ""
	if h := b.holds[args[0]]; h != nil {
		got = fmt.Sprint(h.Why, " ", h.Until.Sub(h.Since).Round(time.Second) > 0)
	}
	if got != args[1] {
		ts.Fatalf("the hold of %s is %q, want %q", args[0], got, args[1])
	}
}

func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	path, err := exec.LookPath("ktrdrctl")
	ts.Check(err)
	startBeside(ts, exec.Command(path, args...))
}

func cmdTerminal(ts *testscript.TestScript, neg bool, args []string) {
	cmd := exec.Command("script", "-qefc", "exec ktrdrctl "+strings.Join(args, " "), "/dev/null") // exec: sh would end with 130 after a ^C
	keys, err := cmd.StdinPipe()
	ts.Check(err)
	startBeside(ts, cmd)
	fleetOf(ts).keys = keys
}

func startBeside(ts *testscript.TestScript, cmd *exec.Cmd) {
	out, err := os.Create(ts.MkAbs("out"))
	ts.Check(err)
	defer out.Close()
	notes, err := os.Create(ts.MkAbs("err"))
	ts.Check(err)
	defer notes.Close()
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, notes, ts.MkAbs(".")
	cmd.Env = os.Environ()
	for _, name := range []string{"KTRDR_AGENT", "KTRDR_CONFIG", "NO_COLOR", "TZ", "TERM"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	ts.Check(cmd.Start())
	f := fleetOf(ts)
	f.beside, f.keys = cmd, nil
	ts.Defer(func() { _ = cmd.Process.Kill() })
}

func cmdPoll(ts *testscript.TestScript, neg bool, args []string) {
	pattern, file := regexp.MustCompile(args[0]), append(args, "out")[1]
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		if pattern.MatchString(ts.ReadFile(file)) {
			return
		}
	}
	ts.Fatalf("no %q within %s in\n%s", args[0], patience, ts.ReadFile(file))
}

func cmdInterrupt(ts *testscript.TestScript, neg bool, args []string) {
	f := fleetOf(ts)
	if f.keys != nil {
		_, err := f.keys.Write([]byte{3}) // ^C
		ts.Check(err)
	} else {
		ts.Check(f.beside.Process.Signal(os.Interrupt))
	}
	cmdEnded(ts, neg, append(args, "0"))
}

func cmdEnded(ts *testscript.TestScript, _ bool, args []string) {
	f := fleetOf(ts)
	_ = f.beside.Wait()
	if got := fmt.Sprint(f.beside.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit code %s, want %s\n%s%s", got, args[0], ts.ReadFile("out"), ts.ReadFile("err"))
	}
}

func cmdNotAgent(ts *testscript.TestScript, neg bool, args []string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, "hello")
	}))
	ts.Setenv("KTRDR_AGENT", s.URL)
	ts.Defer(s.Close)
}

// backend plans uploaded trees for real, against an empty engine.
type backend struct {
	report *report.Report

	mu    sync.Mutex
	holds map[string]*api.Hold
	// onSync is the scene that a sync leads to.
	onSync func()
}

func (b *backend) Alive() error { return nil }

func (b *backend) setSync(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onSync = do
}

func (b *backend) Sync(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.onSync != nil {
		go b.onSync()
	}
	return nil
}

func (b *backend) Hold(stack string, h *api.Hold) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holds[stack] = h
	return nil
}

func (b *backend) Doctor(_ context.Context, _ report.DoctorRequest, emit func(api.Check)) error {
	emit(api.Check{Name: "engine-version", Result: api.CheckOK, Message: "28.5.2, API 1.51"})
	emit(api.Check{Name: "disk", Subject: "/var/lib/docker", Result: api.CheckWarn, Message: "1.5G free", Fix: "make room"})
	return nil
}

// Logs tells two lines, and a third one when it follows.
func (b *backend) Logs(ctx context.Context, q report.LogQuery, emit func(report.LogLine)) error {
	at := time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC)
	emit(report.LogLine{Time: at.Add(time.Second), Stack: q.Stack, Service: "db", Container: "ktrdr-db", Stream: "stderr", Text: "second \x1b[31m"})
	emit(report.LogLine{Time: at, Stack: q.Stack, Service: "backend", Container: "ktrdr-backend", Stream: "stdout", Text: fmt.Sprintf("first %v %d %t", q.Services, q.Tail, q.Since.IsZero())})
	if q.Follow {
		emit(report.LogLine{Time: at.Add(2 * time.Second), Stack: q.Stack, Service: "db", Container: "ktrdr-db", Stream: "stdout", Text: "third"})
		<-ctx.Done()
	}
	if q.Tail == 7 {
		return errors.New("the engine went away")
	}
	return nil
}

func (b *backend) PlanTree(ctx context.Context, dir string) ([]*plan.Plan, error) {
	d, _, err := desired.Load(ctx, desired.Request{Root: dir, Node: "b", Revision: "local"})
	if err != nil {
		return nil, err
	}
	plans := []*plan.Plan{}
	for i := range d.Stacks {
		plans = append(plans, plan.Build(plan.Input{
			Node: d.Node, Revision: d.Revision, Stack: &d.Stacks[i], Observed: &api.Observed{Complete: true}, Now: time.Now(),
		}))
	}
	return plans, nil
}

func cmdFollow(ts *testscript.TestScript, _ bool, args []string) {
	f, repo := fleetOf(ts), ts.MkAbs(args[0])
	f.back.setSync(func() {
		out, err := exec.Command("git", "-C", repo, "rev-parse", "main").Output()
		if err == nil {
			f.report.SetSource(strings.TrimSpace(string(out)), time.Now(), nil)
			f.report.Planned("core", corePlan(nil), 0)
		}
	})
}

func cmdAskFor(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs("ask"), []byte("protocol=https\nhost="+args[0]+"\n\n"), 0o600))
}
