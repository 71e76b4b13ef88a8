package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/controller/store"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Memory is the part of a store's session that the hub writes.
type Memory interface {
	Connect(ctx context.Context, c store.Connection) error
	Disconnect(ctx context.Context, node string, since time.Time) error
	PutStatus(ctx context.Context, status store.Status) error
}

// Config of a Hub.
type Config struct {
	// Controller is this controller's id, Version its version.
	Controller, Version string
	// Epoch is higher than at any start before: numbers of the controller's own events begin there.
	Epoch int64
	// Endpoints are told to agents: controllers as host:port.
	Endpoints []string
	// StatusInterval is the least time between two statuses of a node. Default 500 ms.
	StatusInterval time.Duration
	// KeepInterval is the least time between two writes of a node's status. Default 1 s.
	KeepInterval time.Duration
	// Shelf has the slices. Required.
	Shelf *slicing.Shelf
	// Memory is where connections and statuses are kept. Required.
	Memory Memory
	// Caller returns the name of the node that calls. It has been verified. Required.
	Caller func(ctx context.Context) (string, error)
	// Newest is the store's revision of the newest rollout: a node that comes from another
	// controller is sent nothing before this hub has seen it. nil when there is no other one.
	Newest func(ctx context.Context) (int64, error)
	// Forward gives a command to a node of another controller, by its id; nil when that can't be
	// done.
	Forward func(ctx context.Context, controller string, r Request) (*ktrdrv1.CommandResult, error)
	// SliceSent is told of each slice that was sent; nil for nobody.
	SliceSent func()
	// Log, nil for none.
	Log *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.Shelf == nil || c.Memory == nil || c.Caller == nil || c.Controller == "" {
		return c, errors.New("make hub: controller, shelf, memory and caller are required")
	}
	if c.StatusInterval < 0 || c.KeepInterval < 0 {
		return c, fmt.Errorf("make hub: statusInterval %s and keepInterval %s: give no negative ones", c.StatusInterval, c.KeepInterval)
	}
	if c.StatusInterval == 0 {
		c.StatusInterval = 500 * time.Millisecond
	}
	if c.KeepInterval == 0 {
		c.KeepInterval = time.Second
	}
	if c.SliceSent == nil {
		c.SliceSent = func() {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
