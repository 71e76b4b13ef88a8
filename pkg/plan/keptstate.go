package plan

// KeptState says where one kept secret of one container stands.
type KeptState string

// States of a kept secret.
const (
	// KeptUnborn: the container was never made; its first start applies what it gets.
	KeptUnborn KeptState = "unborn"
	// KeptUnknown: there is a container, and nobody remembers which value it has.
	KeptUnknown KeptState = "unknown"
	// KeptSettled: it has the newest value, or there is none to compare with.
	KeptSettled KeptState = "settled"
	// KeptRotating: its command is about to give it the newest value. Nobody else gets one
	// meanwhile.
	KeptRotating KeptState = "rotating"
	// KeptWaiting: it has a command that can't run now, or failed. The old value stays in use.
	KeptWaiting KeptState = "waiting"
	// KeptRefused: it has no command. The old value stays in use.
	KeptRefused KeptState = "refused"
)

// KeptSigns is what is seen of a kept secret of one container.
type KeptSigns struct {
	// Newest is the digest of the provider's value; empty when none is at hand.
	Newest string
	// Known says that Accepted and Tried are remembered (api.Kept).
	Known           bool
	Accepted, Tried string
	// Exists says that there is a container, Command that a rotation is declared.
	Exists, Command bool
	// CanRun says that the command can be run now, Failed that its last run did not succeed
	// and nothing changed since.
	CanRun, Failed bool
}

// NextKept is the state that follows from the signs. A value whose rotation was not seen
// to end (Tried) may be in force although another one was accepted last: only another
// rotation settles that, also when the provider has gone back to the accepted one.
func NextKept(s KeptSigns) KeptState {
	switch {
	case !s.Known && !s.Exists:
		return KeptUnborn
	case !s.Known:
		return KeptUnknown
	case s.Newest == "" || s.Accepted == s.Newest && s.Tried == "":
		return KeptSettled
	case !s.Command:
		return KeptRefused
	case !s.CanRun || s.Failed:
		return KeptWaiting
	}
	return KeptRotating
}

// Agreed tells which value of a secret those get that don't keep it, from the containers
// that do: the newest, or an earlier one while a container can't have it yet. It is empty
// while nobody may get any.
func Agreed(newest string, kept []KeptSigns) string {
	agreed, found := newest, false
	for _, s := range kept {
		switch NextKept(s) {
		case KeptUnborn:
		case KeptUnknown, KeptRotating:
			return ""
		case KeptSettled, KeptWaiting, KeptRefused:
			if found && s.Accepted != agreed {
				return ""
			}
			agreed, found = s.Accepted, true
		}
	}
	return agreed
}
