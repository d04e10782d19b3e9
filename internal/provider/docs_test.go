package provider

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework-validators/helpers/validatordiag"
	"github.com/hashicorp/terraform-plugin-framework/path"
)

const root = "../.."

var (
	fence       = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	codeSpan    = regexp.MustCompile("`[^`\n]*`")
	frontMatter = regexp.MustCompile(`(?s)\A---\n(.*?\n)---\n`)
	heading     = regexp.MustCompile(`(?m)^(#+) (.+)$`)
	htmlAnchor  = regexp.MustCompile(`<a id="([^"]+)">`)
	link        = regexp.MustCompile(`\[[^][]*\]\(([^()\s]+)\)`)
	notInSlugs  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	template    = regexp.MustCompile(`\{\{.*?\}\}`)
)

// page is a file of the documentation.
type page struct {
	name string // as seen from the root of the repository
	text string
}

// pages are all files of the documentation: what the registry shows, what it is made from, and what a repository shows.
func pages(t *testing.T) (pages []page) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", ".terraform", "dist", "testdata"}, entry.Name()):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".md") && !strings.HasSuffix(path, ".md.tmpl"):
			return nil
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(root, path)
		pages = append(pages, page{filepath.ToSlash(name), string(text)})
		return err
	})
	if err != nil || len(pages) < 20 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	return pages
}

// prose is the page without its code, in which nothing is a link or a heading.
func (p page) prose() string {
	text := p.text
	for _, code := range []*regexp.Regexp{frontMatter, fence, template} {
		text = code.ReplaceAllString(text, "")
	}
	return codeSpan.ReplaceAllString(text, "code")
}

// anchors are what a link to the page may name after "#", as GitHub and the registry form them.
func (p page) anchors() map[string]bool {
	anchors := map[string]bool{}
	for _, id := range htmlAnchor.FindAllStringSubmatch(p.text, -1) {
		anchors[id[1]] = true
	}
	for _, h := range heading.FindAllStringSubmatch(fence.ReplaceAllString(p.text, ""), -1) {
		slug := strings.ReplaceAll(notInSlugs.ReplaceAllString(strings.ToLower(h[2]), ""), " ", "-")
		for n, base := 1, slug; anchors[slug]; n++ {
			slug = base + "-" + strconv.Itoa(n)
		}
		anchors[slug] = true
	}
	return anchors
}

// Every link leads somewhere: to a file, to a heading of it, or to an address that can be one.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	links := 0
	for _, p := range pages(t) {
		// A template's links are those of the page that it becomes.
		home, generated := strings.CutSuffix(strings.Replace(p.name, "templates/", "docs/", 1), ".tmpl")
		for _, l := range link.FindAllStringSubmatch(p.prose(), -1) {
			links++
			target, err := url.Parse(l[1])
			switch {
			case err != nil:
				t.Errorf("%s: %s: %s", p.name, l[1], err)
				continue
			case target.Scheme != "" || target.Host != "":
				if target.Scheme != "https" || !strings.Contains(target.Host, ".") || target.User != nil {
					t.Errorf("%s: %s is no public address", p.name, l[1])
				}
				continue
			}
			name := p.name
			if generated {
				name = home
			}
			if target.Path != "" {
				name = filepath.ToSlash(filepath.Join(filepath.Dir(name), target.Path))
			}
			if strings.HasPrefix(home, "docs/") && !strings.HasPrefix(name, "docs/") {
				t.Errorf("%s: %s leads out of what the registry shows", p.name, l[1])
			}
			text, err := os.ReadFile(filepath.Join(root, name))
			if info, statErr := os.Stat(filepath.Join(root, name)); statErr == nil && info.IsDir() {
				err = nil
			}
			if err != nil {
				t.Errorf("%s: %s: %s", p.name, l[1], err)
			} else if target.Fragment != "" && !(page{name, string(text)}).anchors()[target.Fragment] {
				t.Errorf("%s: %s: no heading has this anchor", p.name, l[1])
			}
		}
	}
	if links < 50 {
		t.Errorf("only %d links found", links)
	}
}

// The pages are as the registry wants them, beyond what "tfplugindocs validate" looks at: see
// https://developer.hashicorp.com/terraform/registry/providers/docs.
func TestPagesFitTheRegistry(t *testing.T) {
	t.Parallel()
	var index string
	var guides []string
	for _, p := range pages(t) {
		name, ok := strings.CutPrefix(p.name, "docs/")
		if !ok {
			continue
		}
		if name == "index.md" {
			index = p.text
		} else if dir := filepath.Dir(name); dir == "guides" {
			guides = append(guides, name)
		} else if !slices.Contains([]string{"actions", "data-sources", "functions", "list-resources", "resources"}, dir) {
			t.Errorf("%s: the registry knows no folder %s", p.name, dir)
		}
		if len(p.text) >= 500_000 {
			t.Errorf("%s: the registry cuts off what is beyond 500 kB", p.name)
		}

		matter := frontMatter.FindStringSubmatch(p.text)
		if matter == nil {
			t.Errorf("%s: no front matter", p.name)
			continue
		}
		keys := regexp.MustCompile(`(?m)^(\w+): *(.*)$`).FindAllStringSubmatch(matter[1], -1)
		values := map[string]string{}
		for _, key := range keys {
			values[key[1]] = strings.Trim(key[2], `"`)
		}
		_, description, _ := strings.Cut(matter[1], "description: |-\n")
		if _, ok := values["subcategory"]; !ok && name != "index.md" {
			t.Errorf("%s: no subcategory", p.name)
		}
		if values["page_title"] == "" || !strings.HasPrefix(description, "  ") {
			t.Errorf("%s: no page_title or no description: %q", p.name, matter[1])
		}

		level := 0
		for i, h := range heading.FindAllStringSubmatch(p.prose(), -1) {
			switch n := len(h[1]); {
			case (i == 0) != (n == 1):
				t.Errorf("%s: heading %d is %q: the first, and no other, is the page's", p.name, i+1, h[0])
			case n > level+1:
				t.Errorf("%s: %q skips a level", p.name, h[0])
			case i == 0 && filepath.Dir(name) == "guides" && h[2] != values["page_title"]:
				t.Errorf("%s: %q is not its title, %q", p.name, h[2], values["page_title"])
			default:
				level = n
			}
		}
		for _, block := range fence.FindAllString(p.text, -1) {
			if strings.HasPrefix(strings.TrimSpace(block), "```\n") {
				t.Errorf("%s: code without a language:\n%s", p.name, block)
			}
		}
	}
	for _, guide := range guides {
		if !strings.Contains(index, "("+guide+")") {
			t.Errorf("index.md does not name %s", guide)
		}
	}
}

// Every test that a page names exists.
func TestPagesNameRealTests(t *testing.T) {
	t.Parallel()
	exists := map[string]bool{}
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, function := range testFunction.FindAllStringSubmatch(string(text), -1) {
			exists[function[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, p := range pages(t) {
		for _, name := range testName.FindAllStringSubmatch(p.text, -1) {
			named++
			if !exists[name[1]] {
				t.Errorf("%s: there is no %s", p.name, name[1])
			}
		}
	}
	if named < 15 {
		t.Errorf("only %d names found", named)
	}
}

var (
	testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	testName     = regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`")
)

// Pages, and the examples that they show, use the words that descriptions must use. (What is in docs/ comes from templates/,
// descriptions and examples.)
func TestPagesUsePlainWords(t *testing.T) {
	t.Parallel()
	var texts []page
	for _, p := range pages(t) {
		if !strings.HasPrefix(p.name, "docs/") && p.name != "CODE_OF_CONDUCT.md" { // that is about people
			texts = append(texts, page{p.name, p.prose()})
		}
	}
	for _, name := range exampleFiles(t, examples, ".tf", ".sh", ".tfrc", ".yml") {
		text, err := os.ReadFile(filepath.Join(examples, name))
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, page{"examples/" + name, string(text)})
	}
	for _, p := range texts {
		for line := range strings.Lines(p.text) {
			if word := unidiomatic.FindString(line); word != "" {
				t.Errorf("%s: write it in other words than %q: %s", p.name, word, line)
			}
		}
	}
}

// The table of troubles has every summary of the code, as Terraform shows it, and no other.
func TestTroubleshootingIsTrue(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "docs/guides/troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| `") {
			line = strings.Split(line, "|")[1] // its first column
		} else if !strings.HasPrefix(line, "`Unexpected ") {
			continue
		}
		for _, quoted := range codeSpan.FindAllString(line, -1) {
			listed[strings.Trim(quoted, "`")] = true
		}
	}
	known := append(summaries(t), "Null Map Value", "Null Set Value", // both of terraform-plugin-framework-validators, like these
		validatordiag.InvalidAttributeValueDiagnostic(path.Empty(), "", "").Summary(),
		validatordiag.InvalidAttributeValueMatchDiagnostic(path.Empty(), "", "").Summary(),
		validatordiag.InvalidAttributeCombinationDiagnostic(path.Empty(), "").Summary())
	for summary := range listed {
		if !slices.ContainsFunc(known, func(s string) bool { return s == summary || strings.HasSuffix(s, " ") && strings.HasPrefix(summary, s) }) {
			t.Errorf("no diagnostic has the summary %q", summary)
		}
	}
	for _, s := range known {
		found := listed[s]
		for summary := range listed {
			found = found || strings.HasSuffix(s, " ") && strings.HasPrefix(summary, s)
		}
		if !found {
			t.Errorf("%q is not in the table", s)
		}
	}
}

// summaries are those of all diagnostics in the code. One that ends in a space is the beginning of several.
func summaries(t *testing.T) (list []string) {
	t.Helper()
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	// Where in its arguments a function takes a summary.
	takers := map[string]int{"AddError": 0, "AddWarning": 0, "AddAttributeError": 1, "AddAttributeWarning": 1, "addAs": 2, "check": 2, "refuse": 2}
	files := token.NewFileSet()
	add := func(e ast.Expr) {
		for {
			sum, ok := e.(*ast.BinaryExpr)
			if !ok {
				break
			}
			e = sum.X
		}
		switch e := e.(type) {
		case *ast.BasicLit:
			text, err := strconv.Unquote(e.Value)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, text)
		case *ast.Ident: // handed on
			if e.Name != "summary" {
				t.Errorf("%s: this test cannot read the summary %s", files.Position(e.Pos()), e.Name)
			}
		default:
			t.Errorf("%s: this test cannot read the summary", files.Position(e.Pos()))
		}
	}
	for _, name := range sources {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			results := function.Type.Results
			explains := results != nil && len(results.List) > 0 && len(results.List[0].Names) > 0 && results.List[0].Names[0].Name == "summary"
			ast.Inspect(function, func(node ast.Node) bool {
				switch node := node.(type) {
				case *ast.ReturnStmt:
					if explains && len(node.Results) > 1 {
						add(node.Results[0])
					}
				case *ast.CallExpr:
					var called string
					switch f := node.Fun.(type) {
					case *ast.Ident:
						called = f.Name
					case *ast.SelectorExpr:
						called = f.Sel.Name
					}
					if at, ok := takers[called]; ok && at < len(node.Args) {
						add(node.Args[at])
					}
				}
				return true
			})
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	if len(list) < 40 {
		t.Errorf("only %d summaries found: %q", len(list), list)
	}
	return list
}
