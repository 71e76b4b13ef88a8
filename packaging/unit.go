package packaging

import _ "embed"

// Unit is the systemd unit of the agent.
//
//go:embed systemd/ktrdr-agent.service
var Unit string
