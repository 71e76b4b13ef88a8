package e2e_test

import (
	"testing"

	"ktrdr.io/fleet/pkg/ctl"
)

// commands are all verbs of ktrdrctl with arguments, in every form that prints something
// else. A verb without a row fails the test, so that no new one is forgotten.
func (w *canaryWorld) commands(t *testing.T) []string {
	t.Helper()
	forms := map[string][]string{
		"status":  {"status", "status -o wide", "status -o json", "status -o yaml"},
		"events":  {"events", "events -o json"},
		"plan":    {"plan", "plan -o json", "plan " + w.repo, "plan -o json " + w.repo},
		"secrets": {"secrets", "secrets -o json", "secrets -o yaml"},
		"version": {"version", "version -o json"},
		"doctor":  {"doctor --all", "doctor -o json"},
		"validate": {
			"validate " + w.repo,
		},
		"hold": {"hold open --why canary"}, "resume": {"resume open"}, "sync": {"sync"}, "exit-codes": {"exit-codes", "help"},
		// What takes a controller, or a clone, says so and asks the agent nothing else.
		"logs": {"logs app", "logs app -o json -t"}, "history": {"history"}, "diff": {"diff"}, "audit": {"audit"}, "whoami": {"whoami"},
		"deploy": {"deploy app --tag canary --dry-run"}, "scale": {"scale pool=1 node=b --dry-run"}, "rollback": {"rollback --dry-run"},
		"node list": {"node list"}, "node join-token": {"node join-token b"}, "node cordon": {"node cordon b --why canary"},
		"node uncordon": {"node uncordon b"}, "node remove": {"node remove b --yes"},
		"operator list": {"operator list"}, "operator add": {"operator add eve"}, "operator remove": {"operator remove eve --yes"},
		"git setup": {"git setup " + w.repo}, "git-credential": {"git-credential store"},
		"context list": {"context list"}, "context show": {"context show"},
		// They ask nobody and change this machine.
		"context use": nil, "context add": nil, "context remove": nil, "context renew": nil, "man": nil,
	}
	var commands []string
	for _, verb := range ctl.Verbs() {
		rows, known := forms[verb]
		if !known {
			t.Fatalf("the canary suite does not know ktrdrctl %s: add what it prints", verb)
		}
		commands = append(commands, rows...)
		delete(forms, verb)
	}
	for verb := range forms {
		t.Errorf("there is no ktrdrctl %s any more", verb)
	}
	return commands
}
