package enroll_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/enroll"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func TestJoin(t *testing.T) {
	s := serve(t)
	k, c := s.joined(t, "b")
	if c.Identity.Kind != pki.Node || c.Identity.Name != "b" {
		t.Errorf("the certificate is for %s", c.Identity)
	}
	if again, err := k.Load(); err != nil || again.Identity != c.Identity {
		t.Errorf("the store has %v, %v", again, err)
	}
	me, err := s.whoAmI(t, c)
	if err != nil || me.GetKind() != "node" || me.GetName() != "b" || me.GetBy() != "certificate" || !me.GetExpires().AsTime().Equal(c.NotAfter()) {
		t.Errorf("the controller takes it for %v, %v", me, err)
	}
	node, err := s.store.Nodes().Get(t.Context(), "b")
	if err != nil || node.CertSerial != c.Identity.Serial || !node.CertNotAfter.Equal(c.NotAfter()) {
		t.Errorf("the store has %+v, %v", node, err)
	}
}

// TestTokensThatAreNotGood: all are refused alike, and none is used up by it.
func TestTokensThatAreNotGood(t *testing.T) {
	s := serve(t)
	expired := s.token(t, "b")
	_, err := s.store.Tokens().Update(t.Context(), expired.ID, func(r *store.JoinToken) error {
		r.ExpiresAt = time.Now().Add(-time.Second)
		return nil
	})
	must(t, err)
	used := s.token(t, "b")
	_, err = s.join(t, used, keys(t))
	must(t, err)
	good := s.token(t, "b")
	foreign := good
	foreign.Node = "c"
	unknown, err := s.authority.Load().NewJoinToken("b")
	must(t, err)
	wrongSecret := s.token(t, "b")
	wrongSecret.Token = mixed(t, wrongSecret, unknown)

	seen := map[string]bool{}
	for name, token := range map[string]pki.JoinToken{
		"expired": expired, "used": used, "for another node": foreign, "unknown": unknown, "wrong secret": wrongSecret,
	} {
		_, err := s.join(t, token, keys(t))
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("a token that is %s: %v", name, err)
		}
		seen[status.Convert(unwrap(err)).Message()] = true
		if strings.Contains(err.Error(), token.Secret()) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	if len(seen) != 1 {
		t.Errorf("strangers can tell what is wrong: %v", seen)
	}
	if _, err := s.join(t, good, keys(t)); err != nil {
		t.Errorf("the good token was used up: %v", err)
	}
}

// mixed has the id of one token and the secret of another.
func mixed(t *testing.T, id, secret pki.JoinToken) pki.Token {
	t.Helper()
	text := strings.Replace(secret.Text(), secret.ID, id.ID, 1)
	token, err := pki.ParseJoinToken(text)
	must(t, err)
	return token.Token
}

func unwrap(err error) error {
	for {
		next, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = next.Unwrap()
	}
}

func TestJoinOtherFleet(t *testing.T) {
	s, other := serve(t), serve(t)
	token := other.token(t, "b")
	_, err := s.join(t, token, keys(t))
	if err == nil || !strings.Contains(err.Error(), "not the one that the join token names") {
		t.Errorf("join at another fleet: %v", err)
	}
	if strings.Contains(s.logged(), token.ID) {
		t.Error("the token got to the wrong controller")
	}
}

func TestJoinNonsense(t *testing.T) {
	s := serve(t)
	client := ktrdrv1.NewEnrollmentServiceClient(s.dial(t, &pki.Credentials{Authorities: s.authority.Load().Pool()}))
	token := s.token(t, "b")
	for name, tc := range map[string]struct {
		request *ktrdrv1.JoinRequest
		want    codes.Code
	}{
		"empty":         {&ktrdrv1.JoinRequest{}, codes.Unauthenticated},
		"huge":          {&ktrdrv1.JoinRequest{JoinToken: strings.Repeat("a", 1<<20)}, codes.Unauthenticated},
		"no request":    {&ktrdrv1.JoinRequest{JoinToken: token.Text()}, codes.InvalidArgument},
		"other request": {&ktrdrv1.JoinRequest{JoinToken: token.Text(), Csr: []byte("x")}, codes.InvalidArgument},
	} {
		if _, err := client.Join(patience(t), tc.request); status.Code(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	if _, err := s.join(t, token, keys(t)); err != nil {
		t.Errorf("nonsense used the token up: %v", err)
	}
}

// TestJoinAgain: an answer that got lost can be asked for again, by the same machine.
func TestJoinAgain(t *testing.T) {
	s := serve(t)
	token, k := s.token(t, "b"), keys(t)
	csr, err := k.Request()
	must(t, err)
	client := ktrdrv1.NewEnrollmentServiceClient(s.dial(t, &pki.Credentials{Authorities: s.authority.Load().Pool()}))
	_, err = client.Join(patience(t), &ktrdrv1.JoinRequest{JoinToken: token.Text(), Csr: csr}) // never installed
	must(t, err)
	c, err := s.join(t, token, k)
	must(t, err)
	if _, err := s.whoAmI(t, c); err != nil {
		t.Errorf("the second answer: %v", err)
	}
	if _, err := s.join(t, token, k); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the same token with a new key: %v", err)
	}
}

// TestOneMachineWins races machines for one token.
func TestOneMachineWins(t *testing.T) {
	s := serve(t)
	token := s.token(t, "b")
	var won atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		k := keys(t)
		all.Go(func() {
			_, err := s.join(t, token, k)
			switch {
			case err == nil:
				won.Add(1)
			case status.Code(err) != codes.Unauthenticated:
				t.Errorf("join: %v", err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d machines became the node", won.Load())
	}
}

// TestJoinAnew: a machine that was set up anew replaces what was there.
func TestJoinAnew(t *testing.T) {
	s := serve(t)
	_, before := s.joined(t, "b")
	_, after := s.joined(t, "b")
	if _, err := s.whoAmI(t, before); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the machine before: %v", err)
	}
	if _, err := s.whoAmI(t, after); err != nil {
		t.Errorf("the machine after: %v", err)
	}
}

// TestClocks: a controller whose clock is four minutes ahead of the nodes' is fine.
func TestClocks(t *testing.T) {
	s := serve(t)
	s.replace(t, s.authority.Load().WithClock(func() time.Time { return time.Now().Add(4 * time.Minute) }))
	_, c := s.joined(t, "b")
	if _, err := s.whoAmI(t, c); err != nil {
		t.Error(err)
	}
}

func TestLifetimesOfJoinTokens(t *testing.T) {
	s := serve(t)
	for ttl, ok := range map[time.Duration]bool{
		0: true, time.Minute: true, enroll.MaxJoinTTL: true, time.Second: false, -time.Hour: false, enroll.MaxJoinTTL + 1: false,
	} {
		if _, _, err := s.service.NewJoinToken(t.Context(), "b", ttl, "x"); (err == nil) != ok {
			t.Errorf("%s: %v, accepted shall be %v", ttl, err, ok)
		}
	}
	if _, _, err := s.service.NewJoinToken(t.Context(), "../b", 0, "x"); err == nil {
		t.Error("a token for ../b was made")
	}
}

func TestRemovedNode(t *testing.T) {
	s := serve(t)
	k, c := s.joined(t, "b")
	conn := s.dial(t, c)
	stream, err := ktrdrv1.NewAgentServiceClient(conn).Connect(patience(t))
	must(t, err)
	_, err = stream.Recv()
	must(t, err)
	must(t, s.service.RemoveNode(t.Context(), "b"))
	if _, err := stream.Recv(); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the open stream ended with %v", err)
	}
	if _, _, err := wire.Renew(patience(t), conn, k); status.Code(err) != codes.Unauthenticated {
		t.Errorf("renewal after removal: %v", err)
	}
	_, again := s.joined(t, "b")
	if _, err := s.whoAmI(t, c); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the removed certificate, after the node joined anew: %v", err)
	}
	if _, err := s.whoAmI(t, again); err != nil {
		t.Errorf("the node that joined anew: %v", err)
	}
}
