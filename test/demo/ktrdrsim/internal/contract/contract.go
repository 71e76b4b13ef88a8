package contract

import (
	"fmt"
	"regexp"
	"time"
)

// WorkerType is what a worker can do, in the words that KTRDR uses on the wire.
type WorkerType string

// Worker types.
const (
	Backtesting WorkerType = "backtesting"
	Training    WorkerType = "training"
)

// ParseWorkerType accepts the wire words and the short `backtest`.
func ParseWorkerType(s string) (WorkerType, error) {
	switch s {
	case "backtest", string(Backtesting):
		return Backtesting, nil
	case string(Training):
		return Training, nil
	default:
		return "", fmt.Errorf("worker type %q: want backtest, backtesting or training", s)
	}
}

// WorkerStatus is how the backend sees a worker.
type WorkerStatus string

// Worker statuses.
const (
	Available              WorkerStatus = "available"
	Busy                   WorkerStatus = "busy"
	TemporarilyUnavailable WorkerStatus = "temporarily_unavailable"
)

// OperationStatus is the state of one backtest or training run.
type OperationStatus string

// Operation statuses. Failed covers work that was lost with its worker.
const (
	Running   OperationStatus = "running"
	Completed OperationStatus = "completed"
	Failed    OperationStatus = "failed"
)

// Registration is the body of POST /api/v1/workers/register.
type Registration struct {
	WorkerID           string         `json:"worker_id"`
	WorkerType         WorkerType     `json:"worker_type"`
	EndpointURL        string         `json:"endpoint_url"`
	Capabilities       map[string]any `json:"capabilities"`
	CurrentOperationID *string        `json:"current_operation_id"`
}

// Validate names the first field that the backend can't accept.
func (r Registration) Validate() error {
	if !ValidID(r.WorkerID) {
		return fmt.Errorf("worker_id %q: want 1 to 128 letters, digits, dots, dashes or underscores", r.WorkerID)
	}
	if _, err := ParseWorkerType(string(r.WorkerType)); err != nil {
		return fmt.Errorf("worker_type: %w", err)
	}
	return ValidateBaseURL("endpoint_url", r.EndpointURL)
}

// Worker is one element of GET /api/v1/workers.
type Worker struct {
	WorkerID            string         `json:"worker_id"`
	WorkerType          WorkerType     `json:"worker_type"`
	EndpointURL         string         `json:"endpoint_url"`
	Status              WorkerStatus   `json:"status"`
	CurrentOperationID  *string        `json:"current_operation_id"`
	Capabilities        map[string]any `json:"capabilities"`
	HealthCheckFailures int            `json:"health_check_failures"`
	LastHealthyAt       time.Time      `json:"last_healthy_at"`
}

// WorkerHealth is the body of a worker's GET /health, which is always a 200.
type WorkerHealth struct {
	Healthy          bool    `json:"healthy"`
	Service          string  `json:"service"`
	Status           string  `json:"status"`
	WorkerStatus     string  `json:"worker_status"`
	CurrentOperation *string `json:"current_operation"`
}

// Words of WorkerHealth.WorkerStatus.
const (
	WorkerIdle = "idle"
	WorkerBusy = "busy"
)

// StartRequest asks the backend, and the backend asks a worker, to run an operation.
type StartRequest struct {
	// OperationID is set by the backend when it asks a worker; it is empty in a request to the backend.
	OperationID string `json:"operation_id,omitempty"`
	// OperationType selects the workers that can run it.
	OperationType WorkerType `json:"operation_type,omitempty"`
	// DurationSeconds is how long the worker is busy; 0 means 60.
	DurationSeconds float64 `json:"duration_seconds,omitempty"`
	// Resume continues from the checkpoint of OperationID instead of starting anew.
	Resume bool `json:"resume,omitempty"`
}

// Operation is one element of GET /api/v1/operations.
type Operation struct {
	OperationID   string          `json:"operation_id"`
	OperationType WorkerType      `json:"operation_type"`
	Status        OperationStatus `json:"status"`
	WorkerID      string          `json:"worker_id,omitempty"`
	CreatedAt     time.Time       `json:"created_at"`
}

// OperationList is the body of GET /api/v1/operations.
type OperationList struct {
	Success     bool        `json:"success"`
	Data        []Operation `json:"data"`
	TotalCount  int         `json:"total_count"`
	ActiveCount int         `json:"active_count"`
}

// OperationReply is the body of every request about one operation.
type OperationReply struct {
	Success bool      `json:"success"`
	Data    Operation `json:"data"`
}

// Problem is the body of every refusal.
type Problem struct {
	Detail string `json:"detail"`
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// ValidID says whether s can be a worker or operation id. Such an id is safe as one element of a path or a file name.
func ValidID(s string) bool { return idPattern.MatchString(s) }
