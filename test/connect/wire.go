package connect

import "time"

// The types of the API. A field of an item that has no value has no "value" at all.

type errorResponse struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
}

// Vault is a vault. ID and versions are set by the server where they are zero.
type Vault struct {
	ID               string    `json:"id" yaml:"id"`
	Name             string    `json:"name" yaml:"name"`
	Description      string    `json:"description,omitempty" yaml:"description"`
	AttributeVersion int       `json:"attributeVersion" yaml:"-"`
	ContentVersion   int       `json:"contentVersion" yaml:"-"`
	Items            int       `json:"items" yaml:"-"`
	Type             string    `json:"type" yaml:"-"`
	CreatedAt        time.Time `json:"createdAt" yaml:"-"`
	UpdatedAt        time.Time `json:"updatedAt" yaml:"-"`
}

// Item is an item with all that it holds. ID, category and version are set by the server
// where they are zero.
type Item struct {
	ID           string    `json:"id" yaml:"id"`
	Title        string    `json:"title" yaml:"title"`
	Vault        Ref       `json:"vault" yaml:"-"`
	Category     string    `json:"category" yaml:"category"`
	Tags         []string  `json:"tags,omitempty" yaml:"tags"`
	Version      int       `json:"version" yaml:"-"`
	State        string    `json:"state,omitempty" yaml:"state"`
	CreatedAt    time.Time `json:"createdAt" yaml:"-"`
	UpdatedAt    time.Time `json:"updatedAt" yaml:"-"`
	LastEditedBy string    `json:"lastEditedBy,omitempty" yaml:"-"`

	Sections []Section `json:"sections,omitempty" yaml:"sections"`
	Fields   []Field   `json:"fields,omitempty" yaml:"fields"`
	Files    []File    `json:"files,omitempty" yaml:"files"`
}

// Ref names an object by its id.
type Ref struct {
	ID string `json:"id" yaml:"id"`
}

// Section is a section of an item.
type Section struct {
	ID    string `json:"id" yaml:"id"`
	Label string `json:"label,omitempty" yaml:"label"`
}

// Field is a field of an item. Section is nil outside of sections.
type Field struct {
	ID      string `json:"id" yaml:"id"`
	Section *Ref   `json:"section,omitempty" yaml:"section"`
	// Type is CONCEALED where it is empty.
	Type    string `json:"type" yaml:"type"`
	Purpose string `json:"purpose,omitempty" yaml:"purpose"`
	Label   string `json:"label,omitempty" yaml:"label"`
	Value   string `json:"value,omitempty" yaml:"value"`
	// TOTP is the code that is valid now, of fields of type TOTP.
	TOTP string `json:"totp,omitempty" yaml:"totp"`
}

// File is an attachment.
type File struct {
	ID          string `json:"id" yaml:"id"`
	Name        string `json:"name" yaml:"name"`
	Size        int    `json:"size" yaml:"-"`
	ContentPath string `json:"content_path" yaml:"-"`
	Section     *Ref   `json:"section,omitempty" yaml:"section"`
	// Content is base64 in JSON, and there only when a request asks for it.
	Content []byte `json:"content,omitempty" yaml:"-"`
	// Text is the content in fixtures.
	Text string `json:"-" yaml:"content"`
}

// Activity is one line of the record of requests.
type Activity struct {
	RequestID string    `json:"requestId"`
	Timestamp time.Time `json:"timestamp"`
	Action    string    `json:"action"`
	Result    string    `json:"result"`
	Actor     Actor     `json:"actor"`
	Resource  Resource  `json:"resource"`
}

// Actor is who made a request.
type Actor struct {
	ID        string `json:"id"`
	Account   string `json:"account"`
	JTI       string `json:"jti"`
	UserAgent string `json:"userAgent"`
	RequestIP string `json:"requestIp"`
}

// Resource is what a request was about.
type Resource struct {
	Type        string `json:"type"`
	Vault       *Ref   `json:"vault,omitempty"`
	Item        *Ref   `json:"item,omitempty"`
	ItemVersion int    `json:"itemVersion,omitempty"`
}
