package desired

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Defaults of a probe and of a mount's check.
const (
	defaultInterval     = 10 * time.Second
	defaultProbeTimeout = 3 * time.Second
	defaultFailures     = 3
	defaultMountTimeout = 5 * time.Second
)

// maxSlots bounds a pool: each slot of a template loads the Compose files once.
const maxSlots = 100

func (s *stack) checkPolicies() {
	for _, service := range keysOf(s.Spec.Services) {
		policy, at := s.Spec.Services[service], "spec.services."+service
		s.doc.checkRules(at+".environment", policy.Environment)
		s.checkRotation(at+".rotation", policy.Rotation)
		s.checkRegistration(at+".registration", policy.Registration)
		if policy.Probe != nil {
			s.checkProbe(at+".probe", policy.Probe)
		}
		if policy.Protection == nil {
			continue
		}
		for i, p := range policy.Protection.DataPaths {
			if fault := absoluteFault(p); fault != "" {
				s.doc.problem(fmt.Sprintf("%s.protection.dataPaths[%d]", at, i), "%s", fault)
			}
		}
	}
}

func (s *stack) checkProbe(at string, probe *api.ProbeSpec) {
	kinds := 0
	if probe.HTTP != nil {
		kinds++
		if probe.HTTP.Path != "" && !strings.HasPrefix(probe.HTTP.Path, "/") {
			s.doc.problem(at+".http.path", "must begin with a slash")
		}
		if scheme := probe.HTTP.Scheme; scheme != "" && scheme != "http" && scheme != "https" {
			s.doc.problem(at+".http.scheme", "must be http or https")
		}
	}
	if probe.TCP != nil {
		kinds++
	}
	if len(probe.Exec) > 0 {
		kinds++
	}
	if kinds != 1 {
		s.doc.problem(at, "must have exactly one of http, tcp and exec")
	}
	if probe.Failures < 0 {
		s.doc.problem(at+".failures", "must not be negative")
	}
	if probe.Interval != 0 && time.Duration(probe.Interval) < 100*time.Millisecond {
		s.doc.problem(at+".interval", "must be at least 100ms")
	}
}

func (s *stack) checkPools() {
	owner := map[string]string{}
	for _, name := range keysOf(s.Spec.Pools) {
		pool, at := s.Spec.Pools[name], "spec.pools."+name
		if !dnsLabel.MatchString(name) {
			s.doc.problem(at, `must have lower case letters, digits and "-" only`)
		}
		s.checkRegistration(at+".registration", pool.Registration)
		services := pool.Services
		if pool.Template != "" {
			services = append(slices.Clip(services), pool.Template)
		}
		for _, service := range services {
			if other, taken := owner[service]; taken {
				s.doc.problem(at, "service %s is in pool %s already", service, other)
			}
			owner[service] = name
		}
		if (len(pool.Services) > 0) == (pool.Template != "") {
			s.doc.problem(at, "must have exactly one of services and template")
			continue
		}
		s.checkPoolSize(at, pool)
		if pool.Template != "" {
			s.checkPoolPorts(at, pool)
		} else if len(pool.Ports) > 0 || pool.NextPort != 0 {
			s.doc.problem(at, "has ports of a template, but its services have their own")
		}
	}
}

func (s *stack) checkPoolSize(at string, pool api.Pool) {
	limit := poolMax(pool)
	switch {
	case pool.Max < 0 || pool.Default < 0:
		s.doc.problem(at, "max and default must not be negative")
	case limit > maxSlots:
		s.doc.problem(at+".max", "must be at most %d", maxSlots)
	case pool.Template == "" && limit > len(pool.Services):
		s.doc.problem(at+".max", "is %d, but the pool has %d services", limit, len(pool.Services))
	case pool.Template != "" && limit == 0:
		s.doc.problem(at, "needs max, the largest scale of a node")
	case pool.Default > limit:
		s.doc.problem(at+".default", "is %d, but the pool has at most %d slots", pool.Default, limit)
	}
}

func (s *stack) checkPoolPorts(at string, pool api.Pool) {
	if len(pool.Ports) == 0 && pool.NextPort == 0 {
		return
	}
	if pool.NextPort == 0 && poolMax(pool) > len(pool.Ports) {
		s.doc.problem(at, "has %d ports for %d slots: add ports, or nextPort to count on from", len(pool.Ports), poolMax(pool))
	}
	seen := map[int]int{}
	for slot := 1; slot <= min(poolMax(pool), maxSlots); slot++ {
		port, ok := slotPort(pool, slot)
		if !ok {
			continue
		}
		if port < 1 || port > 65535 {
			s.doc.problem(at, "slot %d has port %d: it must be from 1 to 65535", slot, port)
		}
		if other, taken := seen[port]; taken {
			s.doc.problem(at, "slots %d and %d have the same port %d", other, slot, port)
		}
		seen[port] = slot
	}
}

// poolMax is the largest scale of a pool.
func poolMax(pool api.Pool) int {
	switch {
	case pool.Max != 0:
		return pool.Max
	case pool.Template != "":
		return len(pool.Ports)
	}
	return len(pool.Services)
}

// slotPort returns the port of a slot of a template, counted from 1. Beyond the list it is
// the next one from NextPort on that the list does not have.
func slotPort(pool api.Pool, slot int) (int, bool) {
	if slot <= len(pool.Ports) {
		return pool.Ports[slot-1], true
	}
	port := pool.NextPort - 1
	for range slot - len(pool.Ports) {
		port++
		for slices.Contains(pool.Ports, port) {
			port++
		}
	}
	return port, pool.NextPort != 0
}

func probeOf(spec *api.ProbeSpec) *api.Probe {
	if spec == nil {
		return nil
	}
	return &api.Probe{
		HTTP: spec.HTTP, TCP: spec.TCP, Exec: spec.Exec,
		Interval: orDefault(time.Duration(spec.Interval), defaultInterval),
		Timeout:  orDefault(time.Duration(spec.Timeout), defaultProbeTimeout),
		Failures: orDefault(spec.Failures, defaultFailures),
	}
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
