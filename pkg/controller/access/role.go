package access

// Role is what a caller may do. Each of viewer, operator and admin may do what the one
// before it may. A node may do nothing of that, nor may
// a controller: their calls are their own.
type Role string

// Roles.
const (
	Anonymous Role = "anonymous"
	Node      Role = "node"
	// Controller is another controller of the fleet.
	Controller Role = "controller"
	Viewer     Role = "viewer"
	Operator   Role = "operator"
	Admin      Role = "admin"
)

// Allows tells whether a caller of this role may make a call that needs at least the other.
func (r Role) Allows(least Role) bool {
	switch least {
	case Anonymous:
		return true
	case Node:
		return r == Node
	case Controller:
		return r == Controller
	case Viewer:
		return r == Viewer || r == Operator || r == Admin
	case Operator:
		return r == Operator || r == Admin
	case Admin:
		return r == Admin
	}
	return false
}
