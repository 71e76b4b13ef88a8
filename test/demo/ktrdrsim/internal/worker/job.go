package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/contract"
)

const (
	defaultDuration = 60 * time.Second
	maxDuration     = 24 * time.Hour
)

var (
	errBusy         = errors.New("worker is busy")
	errNoCheckpoint = errors.New("no checkpoint")
)

// checkpoint is the file that a stopped training leaves behind.
type checkpoint struct {
	OperationID      string  `json:"operation_id"`
	RemainingSeconds float64 `json:"remaining_seconds"`
}

// desk is the one place of work of a worker. It is safe for concurrent use.
type desk struct {
	mu      sync.Mutex
	current string
	ends    time.Time
	timer   *time.Timer
	history map[string]contract.Operation
	id      string
	kind    contract.WorkerType
}

func newDesk(id string, kind contract.WorkerType) *desk {
	return &desk{history: map[string]contract.Operation{}, id: id, kind: kind}
}

// begin makes the desk busy with an operation, or returns errBusy.
func (d *desk) begin(operation string, length time.Duration) (contract.Operation, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current != "" {
		return contract.Operation{}, errBusy
	}
	now := time.Now()
	op := contract.Operation{
		OperationID: operation, OperationType: d.kind, Status: contract.Running, WorkerID: d.id, CreatedAt: now,
	}
	d.current, d.ends, d.history[operation] = operation, now.Add(length), op
	d.timer = time.AfterFunc(length, func() { d.end(operation, contract.Completed) })
	return op, nil
}

// end frees the desk when it still holds operation.
func (d *desk) end(operation string, status contract.OperationStatus) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current != operation || operation == "" {
		return
	}
	d.timer.Stop()
	op := d.history[operation]
	op.Status = status
	d.current, d.history[operation] = "", op
}

// holds returns the operation under way (nil = idle) and what is left of it.
func (d *desk) holds() (*string, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == "" {
		return nil, 0
	}
	current := d.current
	return &current, time.Until(d.ends)
}

func (d *desk) operation(id string) (contract.Operation, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	op, ok := d.history[id]
	return op, ok
}

func requestedLength(seconds float64) (time.Duration, error) {
	if seconds == 0 {
		return defaultDuration, nil
	}
	if math.IsNaN(seconds) || seconds < 0 || seconds > maxDuration.Seconds() {
		return 0, fmt.Errorf("duration_seconds: want more than 0 and at most %.0f", maxDuration.Seconds())
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

func checkpointFile(dir, operation string) string {
	return filepath.Join(dir, operation+".checkpoint.json")
}

// saveCheckpoint writes by rename, so that a kill in the middle leaves the previous file or none.
func saveCheckpoint(dir string, c checkpoint) error {
	raw, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	if err := os.MkdirAll(dir, 0o775); err != nil {
		return fmt.Errorf("make checkpoint directory: %w", err)
	}
	target := checkpointFile(dir, c.OperationID)
	if err := os.WriteFile(target+".part", raw, 0o664); err != nil { //nolint:gosec // the user's share is group readable.
		return fmt.Errorf("write checkpoint: %w", err)
	}
	if err := os.Rename(target+".part", target); err != nil {
		return fmt.Errorf("publish checkpoint: %w", err)
	}
	return nil
}

func loadCheckpoint(dir, operation string) (checkpoint, error) {
	if dir == "" {
		return checkpoint{}, errNoCheckpoint
	}
	raw, err := os.ReadFile(checkpointFile(dir, operation))
	if errors.Is(err, os.ErrNotExist) {
		return checkpoint{}, errNoCheckpoint
	}
	if err != nil {
		return checkpoint{}, fmt.Errorf("read checkpoint: %w", err)
	}
	var c checkpoint
	if err := json.Unmarshal(raw, &c); err != nil || c.OperationID != operation {
		return checkpoint{}, fmt.Errorf("checkpoint of %s is not readable", operation)
	}
	return c, nil
}
