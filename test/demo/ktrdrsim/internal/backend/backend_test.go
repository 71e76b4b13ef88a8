package backend_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/backend"
	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/contract"
)

func asStatus(err error) (int, bool) {
	if status, ok := errors.AsType[*contract.StatusError](err); ok {
		return status.Code, true
	}
	return 0, false
}

func TestWorkerBecomesUnavailableAfterThreeFailures(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fleet) {
		defer f.backend()()
		_, stop := f.worker("w1", contract.Backtesting)
		defer stop()
		synctest.Wait()
		if got := f.status("w1"); got != contract.Available {
			t.Fatalf("status after the start is %q", got)
		}
		f.net.Down("w1")
		after(25 * time.Second)
		if got := f.status("w1"); got != contract.Available {
			t.Fatalf("status after two failures is %q", got)
		}
		after(10 * time.Second)
		if got := f.status("w1"); got != contract.TemporarilyUnavailable {
			t.Fatalf("status after three failures is %q", got)
		}
	})
}

// The backend polls every 10 s and so resets the worker's timer; when it is gone the worker finds out after 30 s. Whoever
// else polls /health hides that from it, and GET / does not.
func TestHealthCallsHideARestartedBackend(t *testing.T) {
	for name, test := range map[string]struct {
		path string
		want contract.WorkerStatus
	}{
		"nobody polls":                    {want: contract.Available},
		"liveness polls the root":         {path: "/", want: contract.Available},
		"a monitor polls the health page": {path: "/health", want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fleet) {
				stopBackend := f.backend()
				_, stop := f.worker("w1", contract.Backtesting)
				defer stop()
				after(time.Minute)
				stopBackend()
				defer f.backend()()
				for range 20 {
					after(5 * time.Second)
					if test.path != "" && f.callHost("w1", http.MethodGet, test.path, nil, nil) != http.StatusOK {
						t.Fatalf("GET %s is not answered", test.path)
					}
				}
				if got := f.status("w1"); got != test.want {
					t.Errorf("after 100 s the new backend sees the worker as %q, want %q", got, test.want)
				}
			})
		})
	}
}

func TestRegistrationIsRetriedUntilTheBackendIsThere(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fleet) {
		_, stop := f.worker("w1", contract.Training)
		defer stop()
		after(time.Minute)
		defer f.backend()()
		after(5 * time.Second)
		if got := f.status("w1"); got != contract.Available {
			t.Errorf("status is %q", got)
		}
	})
}

func TestOperationRunsOnAFreeWorkerAndCompletes(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fleet) {
		defer f.backend()()
		_, stop := f.worker("w1", contract.Backtesting)
		defer stop()
		synctest.Wait()
		if code := f.call(http.MethodPost, "/api/v1/trainings/start", nil, nil); code != http.StatusServiceUnavailable {
			t.Fatalf("training without a training worker: status %d, want 503", code)
		}
		start := contract.StartRequest{OperationType: "backtest", DurationSeconds: 45}
		var reply contract.OperationReply
		if code := f.call(http.MethodPost, "/api/v1/operations", start, &reply); code != http.StatusOK {
			t.Fatalf("start: status %d", code)
		}
		if got := f.status("w1"); got != contract.Busy {
			t.Fatalf("status under work is %q", got)
		}
		if code := f.call(http.MethodPost, "/api/v1/backtests/start", nil, nil); code != http.StatusServiceUnavailable {
			t.Errorf("start on a busy fleet: status %d, want 503", code)
		}
		var health contract.WorkerHealth
		f.callHost("w1", http.MethodGet, "/health", nil, &health)
		want := contract.WorkerHealth{
			Healthy: true, Service: "backtesting-worker", Status: "operational",
			WorkerStatus: "busy", CurrentOperation: &reply.Data.OperationID,
		}
		if diff := cmp.Diff(want, health); diff != "" {
			t.Errorf("health under work differs (-want +got):\n%s", diff)
		}
		if got := counts(f); got != [3]int{1, 1, 1} {
			t.Errorf("listed, total, active are %v under work", got)
		}
		after(time.Minute)
		if got := counts(f); got != [3]int{0, 1, 0} {
			t.Errorf("listed, total, active are %v after it", got)
		}
		f.call(http.MethodGet, "/api/v1/operations/"+reply.Data.OperationID, nil, &reply)
		if reply.Data.Status != contract.Completed || f.status("w1") != contract.Available {
			t.Errorf("operation is %s and worker %s", reply.Data.Status, f.status("w1"))
		}
	})
}

func counts(f *fleet) [3]int {
	var list contract.OperationList
	f.call(http.MethodGet, "/api/v1/operations?active_only=true", nil, &list)
	return [3]int{len(list.Data), list.TotalCount, list.ActiveCount}
}

func TestStoppedTrainingIsResumedAndStoppedBacktestIsLost(t *testing.T) {
	for name, test := range map[string]struct {
		kind   contract.WorkerType
		resume int
	}{
		"training": {kind: contract.Training, resume: http.StatusOK},
		"backtest": {kind: contract.Backtesting, resume: http.StatusConflict},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fleet) {
				defer f.backend()()
				w, stop := f.worker("w1", test.kind)
				synctest.Wait()
				var reply contract.OperationReply
				f.call(http.MethodPost, "/api/v1/operations",
					contract.StartRequest{OperationType: test.kind, DurationSeconds: 100}, &reply)
				after(40 * time.Second)
				if err := w.Stop(t.Context()); err != nil {
					t.Fatalf("stop: %v", err)
				}
				stop()
				_, stop = f.worker("w1", test.kind)
				defer stop()
				synctest.Wait()
				id := reply.Data.OperationID
				f.call(http.MethodGet, "/api/v1/operations/"+id, nil, &reply)
				if reply.Data.Status != contract.Failed {
					t.Errorf("operation of the restarted worker is %s", reply.Data.Status)
				}
				if code := f.call(http.MethodPost, "/api/v1/operations/"+id+"/resume", nil, nil); code != test.resume {
					t.Fatalf("resume: status %d, want %d", code, test.resume)
				}
				if test.resume != http.StatusOK {
					return
				}
				after(59 * time.Second)
				if got := counts(f); got[2] != 1 {
					t.Errorf("the 60 s that were left took less than 59 s: %v", got)
				}
				after(20 * time.Second)
				if got := counts(f); got[2] != 0 {
					t.Errorf("the 60 s that were left took more than 79 s: %v", got)
				}
			})
		})
	}
}

func TestResumeWithoutCheckpointIsNotFound(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fleet) {
		defer f.backend()()
		_, stop := f.worker("w1", contract.Training)
		defer stop()
		synctest.Wait()
		if code := f.call(http.MethodPost, "/api/v1/operations/op_gone/resume", nil, nil); code != http.StatusNotFound {
			t.Errorf("status %d, want 404", code)
		}
		if got := f.status("w1"); got != contract.Available {
			t.Errorf("the worker is %q afterwards", got)
		}
	})
}

func TestMetricsCountWorkersAndOperations(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fleet) {
		defer f.backend()()
		for _, id := range []string{"w1", "w2", "w3"} {
			_, stop := f.worker(id, contract.Training)
			t.Cleanup(stop)
		}
		synctest.Wait()
		f.call(http.MethodPost, "/api/v1/trainings/start", nil, nil)
		resp, err := f.net.Client().Get("http://" + backendHost + "/metrics/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{
			"ktrdr_workers_registered_total 3\n", "ktrdr_workers_available 2\n", "ktrdr_operations_active 1\n",
		} {
			if !strings.Contains(string(body), "\n"+line) {
				t.Errorf("metrics lack %q:\n%s", line, body)
			}
		}
	})
}

func TestBadRequestsAreRefused(t *testing.T) {
	s := backend.New(backend.Config{}, http.DefaultClient, slog.New(slog.DiscardHandler))
	for name, test := range map[string]struct{ method, path, body string }{
		"no JSON":         {http.MethodPost, "/api/v1/workers/register", "{"},
		"id with a slash": {http.MethodPost, "/api/v1/workers/register", `{"worker_id":"a/b","worker_type":"training","endpoint_url":"http://a"}`},
		"unknown type":    {http.MethodPost, "/api/v1/workers/register", `{"worker_id":"a","worker_type":"x","endpoint_url":"http://a"}`},
		"relative URL":    {http.MethodPost, "/api/v1/workers/register", `{"worker_id":"a","worker_type":"training","endpoint_url":"a:1"}`},
		"no type":         {http.MethodPost, "/api/v1/operations", `{}`},
		"a huge body":     {http.MethodPost, "/api/v1/operations", `{"operation_type":"training","operation_id":"` + strings.Repeat("x", 2<<20) + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			s.Handler().ServeHTTP(rec, httptest.NewRequest(test.method, test.path, strings.NewReader(test.body)))
			if rec.Code != http.StatusUnprocessableEntity || !strings.Contains(rec.Body.String(), `"detail"`) {
				t.Errorf("status %d, body %s", rec.Code, rec.Body)
			}
		})
	}
}

func TestHealthShowsABrokenRelease(t *testing.T) {
	for name, test := range map[string]struct {
		cfg  backend.Config
		code int
	}{
		"good":     {backend.Config{Version: "7"}, http.StatusOK},
		"broken":   {backend.Config{Unhealthy: true}, http.StatusServiceUnavailable},
		"starting": {backend.Config{StartDelay: time.Hour}, http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			s := backend.New(test.cfg, http.DefaultClient, slog.New(slog.DiscardHandler))
			s.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/api/v1/health", nil))
			if rec.Code != test.code {
				t.Errorf("status %d, want %d", rec.Code, test.code)
			}
			if test.code == http.StatusOK && strings.TrimSpace(rec.Body.String()) != `{"status":"ok","version":"7"}` {
				t.Errorf("body %s", rec.Body)
			}
		})
	}
}
