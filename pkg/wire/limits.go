package wire

import "time"

// Limits of connections, on both sides.
const (
	// MaxMessage is the size of the largest message, in bytes.
	MaxMessage = 4 << 20
	// maxHeaders is the size of the headers of a call, in bytes.
	maxHeaders = 16 << 10
	// maxStreams is how many calls a connection may have at the same time.
	maxStreams = 64
	// window is how much a peer may send in a call before it is read, in bytes. A fixed
	// window keeps what a controller holds for each agent small.
	window = 128 << 10

	// pingAfter is the silence after which either side asks whether the other one is there,
	// pingTimeout how long it waits for the answer.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
	// attentiveAfter and attentiveTimeout are the same for who is waited for by a person.
	attentiveAfter   = 15 * time.Second
	attentiveTimeout = 10 * time.Second
	// pingLeast is how often a peer may ask.
	pingLeast = 10 * time.Second
	// idleAfter ends connections without a call. Agents always have one.
	idleAfter = 5 * time.Minute

	// dialTimeout bounds one attempt to connect, handshake included.
	dialTimeout = 15 * time.Second
	// retryFirst and retryLast are the pauses between attempts to connect.
	retryFirst = 500 * time.Millisecond
	retryLast  = 30 * time.Second
)

// PortLimits bound what strangers cost a Port.
type PortLimits struct {
	// Handshake is how long a peer may take to finish the TLS handshake.
	Handshake time.Duration
	// Handshakes is how many may be under way; another one ends the oldest.
	Handshakes int
	// Strangers is how many connections may be open that showed no client certificate; more
	// are closed at once.
	Strangers int
	// StrangersPerAddr is the same for one address (IPv6: one /64 network).
	StrangersPerAddr int
	// Connections is how many connections may be open at all.
	Connections int
}

// DefaultPortLimits are for a fleet of up to 1,000 nodes.
func DefaultPortLimits() PortLimits {
	return PortLimits{Handshake: 10 * time.Second, Handshakes: 1024, Strangers: 1024, StrangersPerAddr: 128, Connections: 8192}
}
