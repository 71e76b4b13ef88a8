package store

import (
	"errors"
	"fmt"
	"time"
)

// Most bytes of an encoded record.
const (
	smallRecord = 64 << 10
	largeRecord = 1 << 20
)

const tokensName = "tokens"

// Node is a machine that has joined. Its key is its name.
type Node struct {
	Name     string    `json:"name"`
	JoinedAt time.Time `json:"joinedAt"`
	// CertSerial is the certificate that was issued last, PrevSerial the one before, which
	// is valid until the new one was used.
	CertSerial   string    `json:"certSerial"`
	PrevSerial   string    `json:"prevSerial,omitempty"`
	CertNotAfter time.Time `json:"certNotAfter"`
	Cordoned     *Cordon   `json:"cordoned,omitempty"`
	// Generation counts changes, from 1.
	Generation int64 `json:"generation"`
}

// Cordon says that nobody shall deploy to a node, and who wants that.
type Cordon struct {
	By  string    `json:"by"`
	Why string    `json:"why"`
	At  time.Time `json:"at"`
}

// Revoked is a certificate that is refused although it has not expired. Its key is the serial.
type Revoked struct {
	Serial string    `json:"serial"`
	Node   string    `json:"node"`
	Until  time.Time `json:"until"` // its own end; swept after that
}

// JoinToken lets one machine become one node, once. Its key is the id.
type JoinToken struct {
	ID string `json:"id"`
	// SecretHash is SHA-256, in hexadecimal, of a secret of at least 128 random bits.
	SecretHash string    `json:"secretHash"`
	Node       string    `json:"node"`
	ExpiresAt  time.Time `json:"expiresAt"`
	CreatedBy  string    `json:"createdBy"`
	UsedAt     time.Time `json:"usedAt,omitzero"`
	UsedFrom   string    `json:"usedFrom,omitempty"`
	// UsedKey identifies the key that it was used with, which may use it again.
	UsedKey string `json:"usedKey,omitempty"`
}

// Role is what an operator may do.
type Role string

// Each role may do what the one before it may.
const (
	RoleViewer   Role = "viewer"
	RoleOperator Role = "operator"
	RoleAdmin    Role = "admin"
)

// Operator is a person, or a program of one. Its key is the name.
type Operator struct {
	Name  string `json:"name"`
	Email string `json:"email,omitempty"`
	Role  Role   `json:"role"`
	// TokenHash is SHA-256, in hexadecimal, of a random token; "" = none. No two operators
	// have the same.
	TokenHash string `json:"tokenHash,omitempty"`
	// CertSerials are the certificates that were issued and are accepted.
	CertSerials []string `json:"certSerials,omitempty"`
	// Replaces has, for a certificate that was renewed and not used yet, the one before.
	Replaces map[string]string `json:"replaces,omitempty"`
	// SeenAt is about when the operator called last, to save writes; zero = not yet.
	SeenAt    time.Time `json:"seenAt,omitzero"`
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"` // zero = never
}

// Head is the accepted state of the repository. There is one.
type Head struct {
	Revision   string    `json:"revision"` // commit
	Parent     string    `json:"parent,omitempty"`
	Author     string    `json:"author"`
	Subject    string    `json:"subject"`
	AcceptedAt time.Time `json:"acceptedAt"`
	By         string    `json:"by"` // operator, or the follower of a remote
	// Generation counts accepted heads, from 1.
	Generation int64 `json:"generation"`
}

// Rollout is a way of a revision to the nodes. Data is its driver's.
type Rollout struct {
	Number   int64  `json:"number"` // from 1, without gaps
	Revision string `json:"revision"`
	// Generation counts changes, from 1.
	Generation int64     `json:"generation"`
	StartedAt  time.Time `json:"startedAt"`
	Data       []byte    `json:"-"`
}

// Status is the newest that a node has reported. Data is the hub's. Its key is the node.
type Status struct {
	Node string    `json:"node"`
	At   time.Time `json:"at"`
	Data []byte    `json:"-"`
}

// Controller is a running controller. It is gone when its session is.
type Controller struct {
	ID        string    `json:"id"`
	Address   string    `json:"address"`
	StartedAt time.Time `json:"startedAt"`
	Version   string    `json:"version"`
}

// Connection says which controller holds a node's stream. Its key is the node; it is gone
// when the controller's session is.
type Connection struct {
	Node       string    `json:"node"`
	Controller string    `json:"controller"`
	Since      time.Time `json:"since"`
	Address    string    `json:"address"` // of the node
}

// Audit is what somebody did, or was refused.
type Audit struct {
	// ID orders entries, the newest first. Record gives it.
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
	Who    string    `json:"who"`
	Role   Role      `json:"role,omitempty"`
	What   string    `json:"what"` // method
	Target string    `json:"target,omitempty"`
	From   string    `json:"from,omitempty"` // address of the peer
	Result string    `json:"result"`
	Detail string    `json:"detail,omitempty"`
}

func (s *Store) tables() {
	s.nodes = newTable(s, kind[Node]{
		name: "nodes", limit: smallRecord, codec: jsonCodec[Node](),
		key:  func(n Node) string { return n.Name },
		bump: func(n *Node) { n.Generation++ },
	})
	s.revoked = newTable(s, kind[Revoked]{
		name: "revoked", limit: smallRecord, codec: jsonCodec[Revoked](),
		key: func(r Revoked) string { return r.Serial },
	})
	s.tokens = newTable(s, kind[JoinToken]{
		name: tokensName, limit: smallRecord, codec: jsonCodec[JoinToken](), check: checkToken,
		key: func(t JoinToken) string { return t.ID },
	})
	s.operators = newTable(s, kind[Operator]{
		name: "operators", limit: smallRecord, codec: jsonCodec[Operator](), check: checkOperator,
		key:   func(o Operator) string { return o.Name },
		index: func(o Operator) string { return o.TokenHash },
	})
	s.heads = newTable(s, kind[Head]{
		name: "head", limit: smallRecord, codec: jsonCodec[Head](),
		key: func(Head) string { return headKey },
	})
	s.rollouts = newTable(s, kind[Rollout]{
		name: "rollouts", limit: largeRecord, codec: framedCodec(func(r *Rollout) *[]byte { return &r.Data }),
		key:  func(r Rollout) string { return descending(r.Number) },
		bump: func(r *Rollout) { r.Generation++ },
	})
	s.statuses = newTable(s, kind[Status]{
		name: "statuses", limit: largeRecord, codec: framedCodec(func(r *Status) *[]byte { return &r.Data }),
		key: func(r Status) string { return r.Node },
	})
	s.controllers = newTable(s, kind[Controller]{
		name: "controllers", limit: smallRecord, codec: jsonCodec[Controller](),
		key: func(c Controller) string { return c.ID },
	})
	s.connections = newTable(s, kind[Connection]{
		name: "connections", limit: smallRecord, codec: jsonCodec[Connection](),
		key: func(c Connection) string { return c.Node },
	})
	s.audit = newTable(s, kind[Audit]{
		name: "audit", limit: smallRecord, codec: jsonCodec[Audit](),
		key: func(a Audit) string { return a.ID },
	})
	s.authorities = newTable(s, kind[Authority]{
		name: "authority", limit: smallRecord, codec: jsonCodec[Authority](), check: checkAuthority,
		key: func(Authority) string { return authorityKey },
	})
}

// Nodes are the machines that have joined. RemoveNode is for removing them.
func (s *Store) Nodes() *Table[Node] { return s.nodes }

// Revoked are certificates of removed nodes that have not expired.
func (s *Store) Revoked() *Table[Revoked] { return s.revoked }

// Tokens are join tokens, used ones too until they expire. Redeem is for using them.
func (s *Store) Tokens() *Table[JoinToken] { return s.tokens }

// Operators are people and programs. OperatorByToken is for finding them by a token.
func (s *Store) Operators() *Table[Operator] { return s.operators }

// Statuses are the newest of each node. Session.PutStatus is for writing them.
func (s *Store) Statuses() *Table[Status] { return s.statuses }

// Controllers are those that run. OpenSession registers this one.
func (s *Store) Controllers() *Table[Controller] { return s.controllers }

// Connections say where nodes are. Session.Connect is for writing them.
func (s *Store) Connections() *Table[Connection] { return s.connections }

func checkHash(hash string) error {
	const digits = 64 // of SHA-256
	if len(hash) != digits {
		return fmt.Errorf("a hash of %d characters: give SHA-256 in hexadecimal", len(hash))
	}
	for _, r := range hash {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') {
			return errors.New("a hash with other characters than 0-9a-f: give SHA-256 in hexadecimal")
		}
	}
	return nil
}

func checkToken(t JoinToken) error {
	if t.ExpiresAt.IsZero() {
		return errors.New("a join token must expire")
	}
	if err := checkKey(t.Node); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	return checkHash(t.SecretHash)
}

func checkOperator(o Operator) error {
	switch o.Role {
	case RoleViewer, RoleOperator, RoleAdmin:
	default:
		return fmt.Errorf("role %q: give viewer, operator or admin", o.Role)
	}
	if o.TokenHash == "" {
		return nil
	}
	return checkHash(o.TokenHash)
}
