package uplinktest

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// access answers as much of the AccessService as a node asks.
type access struct {
	ktrdrv1.UnimplementedAccessServiceServer
	c *Controller
}

// Remove makes the certificates that a node has by now count no more.
func (c *Controller) Remove(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.removed == nil {
		c.state.removed = map[string]bool{}
	}
	c.state.removed[node] = true
}

// WhoAmI implements the contract.
func (a access) WhoAmI(ctx context.Context, _ *ktrdrv1.WhoAmIRequest) (*ktrdrv1.WhoAmIResponse, error) {
	id, err := identity(ctx)
	if err != nil {
		return nil, err
	}
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	if a.c.state.removed[id.Name] {
		return nil, status.Error(codes.Unauthenticated, "the certificate was revoked")
	}
	return &ktrdrv1.WhoAmIResponse{Kind: "node", Name: id.Name}, nil
}
