package rollout

import (
	"slices"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// FaultGrace is how long a stack may say that something it needs is away, before that fails
// the wave: registries, secret stores and file servers are restarted, and come back.
const FaultGrace = 2 * time.Minute

// maxDetail of an agent's words in a fault, in bytes: the fix behind them has to be read, too.
const maxDetail = 240

// verdict is what a condition of a stack does to the wave.
type verdict int

const (
	// waits: the agent goes on, or decides itself (rollback, pause); the wave's time is the limit.
	waits verdict = iota
	// graced: it fails the wave once it has lasted for FaultGrace.
	graced
	// fatal: nothing will change before a person acts, so the wave fails at once.
	fatal
)

// ruling is a verdict, and what a person is to do.
type ruling struct {
	verdict verdict
	fix     string
}

// rule says what a reason of a stack that has not converged does to its wave. docs/spec/controller.md
// has the same table. What is not in it waits, unless it is Blocked with nothing left to do.
func rule(r api.Reason) ruling {
	switch r { //nolint:exhaustive // a table; all others wait
	case api.ReasonImageMissing:
		return ruling{fatal, "push the image, or correct its tag"}
	case api.ReasonImageDenied:
		return ruling{fatal, "correct the registry's credentials in fleet.yaml or in the secret store"}
	case api.ReasonSecretInvalid:
		return ruling{fatal, "put a value that the rule allows into the secret store"}
	case api.ReasonProviderDenied:
		return ruling{fatal, "give the agent a valid token of the secret store"}
	case api.ReasonUndeliverable:
		return ruling{fatal, "run ktrdr-agent prepare on the node, or install ktrdr-exec beside ktrdr-agent"}
	case api.ReasonPolicyViolation:
		return ruling{fatal, "take it out of the desired state, or have the node's policy allow it"}
	case api.ReasonDataUnprotected:
		return ruling{fatal, "put the data on a volume or a bind, or relax the protection in stack.yaml"}
	case api.ReasonForeign, api.ReasonNameConflict:
		return ruling{fatal, "rename or remove one of the two, or list its folder in adoptFrom"}
	case api.ReasonNetworkDiverged, api.ReasonVolumeDiverged:
		return ruling{fatal, "correct the settings in the Compose file"}
	case api.ReasonExternalMissing:
		return ruling{fatal, "create it, or take external: true away"}
	case api.ReasonRotationRefused:
		return ruling{fatal, "declare a rotation command in stack.yaml, or put the old value back"}
	case api.ReasonUnsupported:
		return ruling{fatal, "upgrade the engine, or take the attribute out"}
	case api.ReasonImagePull:
		return ruling{graced, "look at the registry and the network"}
	case api.ReasonSecretMissing:
		return ruling{graced, "create it in the secret store, and check the agent's access"}
	case api.ReasonProviderDown, api.ReasonSecretsStale:
		return ruling{graced, "bring the secret store back"}
	case api.ReasonMountMissing, api.ReasonMountHung, api.ReasonMountReadOnly, api.ReasonMountGroup:
		return ruling{graced, "mend the mount on the node"}
	case api.ReasonPortConflict:
		return ruling{graced, "free the port, or publish another one"}
	case api.ReasonPortLost:
		return ruling{graced, "restart the engine on the node"}
	case api.ReasonDiskFull:
		return ruling{graced, "free some space on the node"}
	case api.ReasonEngineDown:
		return ruling{graced, "start the engine on the node"}
	case api.ReasonRotationFailed:
		return ruling{graced, "mend the rotation command in stack.yaml, or put the old value back"}
	}
	return ruling{waits, ""}
}

// fault is why a stack has not converged, as far as that is not the agent's to mend.
type fault struct {
	verdict verdict
	reason  api.Reason
	text    string
}

// stackFault is the worst of a stack; its verdict is waits when there is nothing to say. A plan
// that is not about the slice yet says Progressing, without conditions, whatever it said before.
func stackFault(s *api.StackStatus) fault {
	if s.Converged || s.Hold != nil {
		return fault{}
	}
	if r := s.Rollout; r != nil && r.Failed != nil && (r.Phase == "rolled-back" || r.Phase == "paused") && s.Reason != api.ReasonProgressing {
		reason := s.Reason
		if reason == "" {
			reason = r.Failed.Reason
		}
		return fault{fatal, reason, failure(r.Failed)}
	}
	var worst fault
	for i := range s.Conditions {
		if f := conditionFault(s, &s.Conditions[i]); f.verdict > worst.verdict {
			worst = f
		}
	}
	return worst
}

func conditionFault(s *api.StackStatus, c *api.Condition) fault {
	if !c.Status || c.Type != api.ConditionBlocked && c.Type != api.ConditionDegraded {
		return fault{}
	}
	ruling, service := rule(c.Reason), serviceOf(s, c)
	ofImage := c.Reason == api.ReasonImageMissing || c.Reason == api.ReasonImageDenied || c.Reason == api.ReasonImagePull
	switch {
	case c.Type == api.ConditionBlocked && len(s.Pending) == 0:
		ruling.verdict = fatal
	case ofImage && service == nil:
		return fault{} // a look for a newer one in the background: nothing waits for it
	case ofImage && c.Type == api.ConditionDegraded && c.Object == service.Container:
		ruling.verdict = min(ruling.verdict, graced) // it went between pull and create, and is pulled again
	}
	parts := []string{}
	if service != nil {
		parts = append(parts, service.Service)
	} else if c.Object != "" {
		parts = append(parts, c.Object)
	}
	text := strings.TrimSuffix(strings.Join(append(parts, string(c.Reason), cut(c.Message, maxDetail)), ": "), ": ")
	if ruling.fix != "" {
		text += "; fix: " + ruling.fix
	}
	return fault{ruling.verdict, c.Reason, text}
}

// serviceOf is the service that a condition keeps from converging; nil when it is none.
func serviceOf(s *api.StackStatus, c *api.Condition) *api.ServiceStatus {
	at := slices.IndexFunc(s.Services, func(svc api.ServiceStatus) bool {
		return !svc.Converged && svc.Reason == c.Reason && (c.Object == svc.Container || c.Object == svc.Image || c.Object == svc.Service)
	})
	if at < 0 {
		return nil
	}
	return &s.Services[at]
}

// faulty says that a node shows a fault before it gets a slice, which may be what mends it: then
// the same is a fault again only once the agent has had time to try.
func faulty(status *api.NodeStatus) bool {
	return status != nil && slices.ContainsFunc(status.Stacks, func(s api.StackStatus) bool { return stackFault(&s).verdict == fatal })
}
