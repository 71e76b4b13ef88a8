package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// resolvConf is what all on a network have. One try would be lost on a lossy line.
const resolvConf = "nameserver " + Address + "\noptions timeout:1 attempts:5\n"

// zone is the domain of the machines.
const zone = ".lab"

// nameMachine makes a machine known.
func (n *Network) nameMachine(m *Machine) error {
	address, err := netip.ParseAddr(m.Address)
	if err != nil {
		return fmt.Errorf("name a machine: %w", err)
	}
	for _, name := range append([]string{m.opts.Name + zone}, m.opts.Names...) {
		n.Name(name, address)
	}
	return nil
}

// names is the network's name server.
type names struct {
	conn  net.PacketConn
	ended chan struct{}

	mu sync.Mutex
	of map[string]netip.Addr
}

func (n *Network) serveNames() (*names, error) {
	s := &names{of: map[string]netip.Addr{}, ended: make(chan struct{})}
	err := within(n.namespace(), func() (err error) {
		s.conn, err = net.ListenPacket("udp", Address+":53") //nolint:noctx // returns at once
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("serve names: %w", err)
	}
	go s.serve()
	return s, nil
}

func (s *names) set(name string, address netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[strings.ToLower(name)] = address
}

func (s *names) find(name string) (address netip.Addr, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	address, known = s.of[strings.ToLower(strings.TrimSuffix(name, "."))]
	return address, known
}

func (s *names) serve() {
	defer close(s.ended)
	for buffer := make([]byte, 512); ; {
		n, from, err := s.conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if answer, err := s.answer(buffer[:n]); err == nil {
			_, _ = s.conn.WriteTo(answer, from) // who did not get it asks again
		}
	}
}

// answer tells the IPv4 address of a name; others than the network's do not exist. RFC 1035.
func (s *names) answer(query []byte) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	address, known := s.find(question.Name.String())
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired, RecursionAvailable: true},
		Questions: []dnsmessage.Question{question},
	}
	switch {
	case !known:
		reply.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA:
		reply.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 1},
			Body:   &dnsmessage.AResource{A: address.As4()},
		}}
	default: // there is no other kind, such as IPv6
	}
	return reply.Pack()
}

func (s *names) close() error {
	err := s.conn.Close()
	<-s.ended
	return err
}
