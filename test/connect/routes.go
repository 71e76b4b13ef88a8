package connect

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// filters are SCIM comparisons; real servers take name and title for vaults, and compare
// with regard to case.
var filters = regexp.MustCompile(`^(name|title) eq "((?:[^"\\]|\\.)*)"$`)

// wanted reads the filter of a request: a test of names.
func wanted(r *http.Request) (func(name string) bool, error) {
	text := r.URL.Query().Get("filter")
	if text == "" {
		return func(string) bool { return true }, nil
	}
	found := filters.FindStringSubmatch(text)
	if found == nil {
		return nil, refused(http.StatusBadRequest, "Invalid filter: %s", text)
	}
	name := regexp.MustCompile(`\\(.)`).ReplaceAllString(found[2], "$1")
	return func(other string) bool { return other == name }, nil
}

func (s *Server) listVaults(c *call) (any, error) {
	matches, err := wanted(c.Request)
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(s.Vaults(), func(v Vault) bool { return !c.claims.covers(v.ID) || !matches(v.Name) })
	for i := range list {
		if c.quirks.NoVersions {
			list[i].AttributeVersion, list[i].ContentVersion = 0, 0
		}
	}
	return shuffled(c.quirks, list), nil
}

func (s *Server) getVault(c *call) (any, error) {
	for _, v := range s.Vaults() {
		if v.ID == c.PathValue("vault") {
			return v, nil
		}
	}
	return nil, errNoVault
}

// listItems gives summaries: no fields, sections or files.
func (s *Server) listItems(c *call) (any, error) {
	matches, err := wanted(c.Request)
	if err != nil {
		return nil, err
	}
	items, err := s.Items(c.PathValue("vault"))
	if err != nil {
		return nil, err
	}
	items = slices.DeleteFunc(items, func(it Item) bool { return !matches(it.Title) })
	for i := range items {
		it := &items[i]
		it.Sections, it.Fields, it.Files = nil, nil, nil
		if c.quirks.NoVersions {
			it.Version = 0
		}
	}
	return shuffled(c.quirks, items), nil
}

func (s *Server) find(c *call) (*Item, error) {
	items, err := s.Items(c.PathValue("vault"))
	if err != nil {
		return nil, err
	}
	for i := range items {
		if items[i].ID == c.PathValue("item") {
			c.seen.Resource.ItemVersion = items[i].Version
			return &items[i], nil
		}
	}
	return nil, errNoItem
}

func (s *Server) getItem(c *call) (any, error) {
	it, err := s.find(c)
	if err != nil {
		return nil, err
	}
	for i := range it.Fields {
		if c.quirks.AddMore && it.Fields[i].Section == nil {
			it.Fields[i].Section = &Ref{ID: "add more"}
		}
	}
	for i := range it.Files {
		it.Files[i].Content = nil
	}
	it.Fields, it.Files = shuffled(c.quirks, it.Fields), shuffled(c.quirks, it.Files)
	return it, nil
}

func (s *Server) createItem(c *call) (any, error) {
	it, err := body(c)
	if err != nil {
		return nil, err
	}
	it.ID = ""
	id, err := s.AddItem(c.PathValue("vault"), *it)
	if err != nil {
		return nil, err
	}
	c.SetPathValue("item", id)
	return s.find(c)
}

func (s *Server) updateItem(c *call) (any, error) {
	it, err := body(c)
	if err != nil {
		return nil, err
	}
	err = s.Edit(c.PathValue("vault"), c.PathValue("item"), func(old *Item) {
		old.Title, old.Category, old.Tags, old.Sections, old.Fields = it.Title, it.Category, it.Tags, it.Sections, it.Fields
	})
	if err != nil {
		return nil, err
	}
	return s.find(c)
}

func (s *Server) deleteItem(c *call) (any, error) {
	if _, err := s.find(c); err != nil {
		return nil, err
	}
	s.RemoveItem(c.PathValue("vault"), c.PathValue("item"))
	return nil, nil
}

func body(c *call) (*Item, error) {
	var it Item
	if err := json.NewDecoder(c.Body).Decode(&it); err != nil {
		return nil, refused(http.StatusBadRequest, "Invalid item: %v", err)
	}
	if it.Vault.ID != c.PathValue("vault") {
		return nil, refused(http.StatusBadRequest, "Invalid item: vault does not match")
	}
	return &it, nil
}

func (s *Server) listFiles(c *call) (any, error) {
	it, err := s.find(c)
	if err != nil {
		return nil, err
	}
	files := append([]File{}, it.Files...)
	for i := range files {
		inline(c, &files[i])
	}
	return files, nil
}

func (s *Server) file(c *call) (*File, error) {
	it, err := s.find(c)
	if err != nil {
		return nil, err
	}
	for i := range it.Files {
		if it.Files[i].ID == c.PathValue("file") {
			return &it.Files[i], nil
		}
	}
	return nil, refused(http.StatusNotFound, "file %s not found", c.PathValue("file"))
}

func inline(c *call, f *File) {
	if c.URL.Query().Get("inline_files") != "true" {
		f.Content = nil
	}
}

func (s *Server) getFile(c *call) (any, error) {
	f, err := s.file(c)
	if err != nil {
		return nil, err
	}
	inline(c, f)
	return f, nil
}

func (s *Server) getContent(c *call) (any, error) {
	f, err := s.file(c)
	if err != nil {
		return nil, err
	}
	c.header.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", f.Name))
	return raw(f.Content), nil
}

// maxActivity bounds what is kept of the record of requests.
const maxActivity = 10_000

// record notes a request that was about a vault.
func (s *Server) record(c *call, err error) {
	id := c.PathValue("vault")
	if id == "" {
		return
	}
	host, _, splitErr := net.SplitHostPort(c.RemoteAddr)
	if splitErr != nil {
		host = c.RemoteAddr
	}
	a := c.seen
	a.Timestamp, a.Result = time.Now().UTC(), "SUCCESS"
	a.Action = map[string]string{"POST": "CREATE", "PUT": "UPDATE", "DELETE": "DELETE"}[c.Method]
	if a.Action == "" {
		a.Action = "READ"
	}
	if err != nil {
		a.Result = "DENY"
	}
	a.Actor = Actor{
		ID: "00000000-0000-4000-8000-000000000000", Account: c.claims.Account, JTI: c.claims.ID,
		UserAgent: c.UserAgent(), RequestIP: host,
	}
	a.Resource.Type, a.Resource.Vault = "VAULT", &Ref{ID: id}
	if item := c.PathValue("item"); item != "" {
		a.Resource.Type, a.Resource.Item = "ITEM", &Ref{ID: item}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.RequestID = fmt.Sprintf("00000000-0000-4000-8000-%012d", s.asked)
	s.activity = append(s.activity, a)
	s.activity = s.activity[max(0, len(s.activity)-maxActivity):]
}

// listActivity gives the newest requests first.
func (s *Server) listActivity(c *call) (any, error) {
	number := func(name string, def int) (int, error) {
		text := c.URL.Query().Get(name)
		if text == "" {
			return def, nil
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return 0, refused(http.StatusBadRequest, "Invalid %s", name)
		}
		return n, nil
	}
	limit, err := number("limit", 50)
	if err != nil {
		return nil, err
	}
	offset, err := number("offset", 0)
	if err != nil {
		return nil, err
	}
	all := s.Requests()
	slices.Reverse(all)
	from := min(offset, len(all))
	part := all[from:min(from+limit, len(all))]
	c.header.Set("Content-Range", fmt.Sprintf("%d-%d/%d", from+1, from+len(part), len(all)))
	return append([]Activity{}, part...), nil
}
