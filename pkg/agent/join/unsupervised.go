package join

import "context"

// Unsupervised is a machine on which something else starts and stops the agent: a container
// engine, another init, a person.
type Unsupervised struct {
	// Run is the command that runs the agent.
	Run string
}

// Check implements System.
func (Unsupervised) Check(context.Context) error { return nil }

// Start implements System.
func (u Unsupervised) Start(context.Context) (string, error) {
	return "no service was touched; start the agent with: " + u.Run, nil
}

// Stop implements System.
func (Unsupervised) Stop(context.Context) (string, error) {
	return "no service was touched; stop the agent yourself", nil
}
