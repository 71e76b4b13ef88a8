package compose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"ktrdr.io/fleet/pkg/api"
)

// pullPolicy maps pull_policy; build means missing, because the agent does not build.
func (m *mapper) pullPolicy(s *types.ServiceConfig) api.PullPolicy {
	place := at(s.Name) + ".pull_policy"
	policy, every, err := s.GetPullPolicy()
	if err != nil {
		m.found.errorf(place, "%q is not one of always, never, missing, daily, weekly, every_<duration>", s.PullPolicy)
		return api.PullPolicy{}
	}
	switch policy {
	case types.PullPolicyAlways:
		return api.PullPolicy{Policy: api.PullAlways}
	case types.PullPolicyNever:
		return api.PullPolicy{Policy: api.PullNever}
	case types.PullPolicyRefresh:
		return m.refresh(s, every)
	case types.PullPolicyBuild:
		m.found.warnf(place, "build means missing here: the agent does not build, it pulls the image when it is absent")
	}
	return api.PullPolicy{Policy: api.PullMissing}
}

// refresh is "every_<duration>"; plain "refresh" takes its period from pull_refresh_after.
func (m *mapper) refresh(s *types.ServiceConfig, every time.Duration) api.PullPolicy {
	if s.PullRefreshAfter != "" {
		parsed, err := time.ParseDuration(s.PullRefreshAfter)
		if err != nil {
			m.found.errorf(at(s.Name)+".pull_refresh_after", "%q is not a duration", s.PullRefreshAfter)
		}
		every = parsed
	}
	if every <= 0 {
		m.found.errorf(at(s.Name)+".pull_policy", "%q needs a period above zero", s.PullPolicy)
	}
	return api.PullPolicy{Policy: api.PullEvery, Every: every}
}

// update maps deploy.update_config. Without a parallelism it is one replica at a time, as
// the Compose specification has it.
func (m *mapper) update(s *types.ServiceConfig) api.Update {
	if s.Deploy == nil || s.Deploy.UpdateConfig == nil {
		return api.Update{Parallelism: 1}
	}
	return m.updateConfig(at(s.Name)+".deploy.update_config", s.Deploy.UpdateConfig, api.FailurePause, api.FailureContinue, api.FailureRollback)
}

// rollback maps deploy.rollback_config, which has the same words.
func (m *mapper) rollback(s *types.ServiceConfig) *api.Update {
	if s.Deploy == nil || s.Deploy.RollbackConfig == nil {
		return nil
	}
	out := m.updateConfig(at(s.Name)+".deploy.rollback_config", s.Deploy.RollbackConfig, api.FailurePause, api.FailureContinue)
	return &out
}

func (m *mapper) updateConfig(place string, config *types.UpdateConfig, actions ...string) api.Update {
	out := api.Update{
		Parallelism: 1, Delay: time.Duration(config.Delay), Monitor: time.Duration(config.Monitor),
		Order: config.Order, FailureAction: config.FailureAction, MaxFailureRatio: config.MaxFailureRatio,
	}
	if config.Parallelism != nil {
		out.Parallelism = int(min(*config.Parallelism, maxReplicas))
	}
	switch out.Order {
	case "", "stop-first", "start-first":
	default:
		m.found.errorf(place+".order", "%q is neither stop-first nor start-first", out.Order)
	}
	if out.FailureAction != "" && !slices.Contains(actions, out.FailureAction) {
		m.found.errorf(place+".failure_action", "%q is not one of %s", out.FailureAction, strings.Join(actions, ", "))
	}
	if out.Delay < 0 || out.Monitor < 0 {
		m.found.errorf(place, "delay and monitor can't be negative")
	}
	if out.MaxFailureRatio < 0 || out.MaxFailureRatio > 1 {
		m.found.errorf(place+".max_failure_ratio", "%v is not between 0 and 1", out.MaxFailureRatio)
	}
	return out
}

// securityOpt reads seccomp profiles, which the engine wants inline, and takes out
// systempaths=unconfined. Source: docker/compose parseSecurityOpts.
func (m *mapper) securityOpt(s *types.ServiceConfig) (options []string, unmasked bool) {
	for i, option := range s.SecurityOpt {
		place := fmt.Sprintf("%s.security_opt[%d]", at(s.Name), i)
		if option == "systempaths=unconfined" {
			unmasked = true
			continue
		}
		key, value, found := strings.Cut(option, "=")
		if !found {
			key, value, found = strings.Cut(option, ":")
		}
		if !found && option != "no-new-privileges" {
			m.found.errorf(place, "%q is not a security option such as no-new-privileges or apparmor=unconfined", option)
			continue
		}
		if key == "seccomp" && value != "unconfined" && value != "builtin" {
			profile, ok := m.seccomp(place, value)
			if !ok {
				continue
			}
			option = "seccomp=" + profile
		}
		options = append(options, option)
	}
	return options, unmasked
}

func (m *mapper) seccomp(place, file string) (string, bool) {
	if !path.IsAbs(file) && !strings.HasPrefix(file, "~") {
		file = path.Join(m.dir, file)
	}
	data, ok := m.readable(place, file)
	if !ok {
		return "", false
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		m.found.errorf(place, "seccomp profile %s is not JSON: %v", file, err)
		return "", false
	}
	return compact.String(), true
}
