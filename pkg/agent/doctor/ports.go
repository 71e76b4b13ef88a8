package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"ktrdr.io/fleet/pkg/api"
)

// ports looks whether the published ports are free, or held by the containers that publish them.
func (c *Config) ports(ctx context.Context, req Request, emit func(api.Check)) {
	if req.Desired == nil {
		return
	}
	if c.OwnNetwork {
		emit(row("ports", "", api.CheckSkip, "the agent runs in a container with a network of its own; run it with network_mode: host"))
		return
	}
	var containers map[string]*api.Container
	if c.Containers != nil {
		containers = c.Containers()
	}
	good, bad := 0, 0
	each(req.Desired, func(_ *api.Stack, _ *api.Service, r *api.Replica) {
		for _, port := range r.Spec.Ports {
			number, err := strconv.ParseUint(port.Published, 10, 16)
			if err != nil || number == 0 {
				continue // the engine chooses
			}
			taken, err := c.taken(ctx, containers, r.Name, port)
			if err != nil {
				bad++
				emit(taken)
				continue
			}
			good++
		}
	})
	if good > 0 || bad == 0 {
		emit(row("ports", "", api.CheckOK, "%d published ports are free or held by their own containers", good))
	}
}

// errTaken says that the row tells of a port that can't be had.
var errTaken = errors.New("taken")

func (c *Config) taken(ctx context.Context, containers map[string]*api.Container, name string, port api.Port) (api.Check, error) {
	port.Protocol = cmp.Or(port.Protocol, "tcp")
	subject, holder := port.Published+"/"+port.Protocol, holderOf(containers, port)
	switch {
	case holder == name:
		return api.Check{}, nil
	case holder != "":
		return fixed(row("ports", subject, api.CheckFail, "%s wants it, container %s has it", name, holder), "stop that container, or give one of them another port"), errTaken
	}
	err := listen(ctx, port)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fixed(row("ports", subject, api.CheckFail, "%s wants it, a program outside of containers has it", name),
			"find it with ss -%snlp 'sport = :%s', then stop it or publish another port", port.Protocol[:1], port.Published), errTaken
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fixed(row("ports", subject, api.CheckFail, "%s wants it at %s, which is no address of this machine", name, port.HostIP), "correct the address in ports:"), errTaken
	}
	return api.Check{}, nil // free, or not for the agent to open, which the engine may
}

// holderOf is the running container that publishes a port.
func holderOf(containers map[string]*api.Container, port api.Port) string {
	for name, ctr := range containers {
		if ctr.State != api.StateRunning {
			continue
		}
		if slices.ContainsFunc(ctr.Spec.Ports, func(p api.Port) bool {
			return p.Published == port.Published && cmp.Or(p.Protocol, "tcp") == port.Protocol
		}) {
			return strings.TrimPrefix(name, "/")
		}
	}
	return ""
}

func listen(ctx context.Context, port api.Port) error {
	address := net.JoinHostPort(port.HostIP, port.Published)
	var l net.ListenConfig
	switch port.Protocol {
	case "tcp":
		opened, err := l.Listen(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return opened.Close()
	case "udp":
		opened, err := l.ListenPacket(ctx, "udp", address)
		if err != nil {
			return err
		}
		return opened.Close()
	}
	return fmt.Errorf("protocol %s is not tried", port.Protocol)
}
