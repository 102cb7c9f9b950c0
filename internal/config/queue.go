package config

import (
	"path/filepath"
	"slices"
	"strings"
)

// queueUse is one pipeline's embedded queue.
type queueUse struct {
	pipeline pipelineValue
	path     string // of the section, in faults
	dir      string // absolute, so that two spellings of one directory are one
	stream   string // empty where dir or stream are at fault: then it is shared with nobody
	*value
}

// said is a setting that was written and understood, nil otherwise.
func (u *queueUse) said(key string) *value {
	if !u.mentioned[key] {
		return nil
	}
	return u.get(key)
}

// shareQueues makes the pipelines that share a directory or a stream agree: what one of them
// says goes for all, and contradictions are faults. It works out which subject each one reads.
func shareQueues(top *value, out *collector) {
	uses := queueUses(top)
	said := map[sharedKey]*queueUse{}   // who said it first
	writers := map[sharedKey][]string{} // by directory and stream
	for i := range uses {
		u := &uses[i]
		if u.stream != "" {
			checkStreamName(u, said, out)
		}
		for _, key := range u.shared() {
			switch other := said[key]; {
			case u.said(key.setting) == nil:
			case other == nil:
				said[key] = u
			default:
				checkAgree(key, other, u, out)
			}
		}
		if u.pipeline.mentioned["source"] {
			key := sharedKey{dir: u.dir, stream: u.stream}
			writers[key] = append(writers[key], u.pipeline.name)
		}
	}
	checkListen(top, uses, said, out)
	checkDirs(top, uses, out)
	for i := range uses {
		u := &uses[i]
		for _, key := range u.shared() { // only now: the last may have said what the first lacks
			if other := said[key]; other != nil && !u.mentioned[key.setting] {
				u.fields[key.setting] = other.get(key.setting)
			}
		}
		settleSubject(u, writers[sharedKey{dir: u.dir, stream: u.stream}], out)
	}
}

// sharedKey is a setting of a directory, or with stream, of a stream in it.
type sharedKey struct{ dir, stream, setting string }

// shared are the settings that u shares with others.
func (u *queueUse) shared() []sharedKey {
	return []sharedKey{
		{u.dir, "", "listen"},
		{u.dir, "", "token"},
		{u.dir, u.stream, "max_bytes"},
		{u.dir, u.stream, "keep"},
	}
}

func queueUses(top *value) []queueUse {
	var uses []queueUse
	spelling := map[string]string{} // of each directory, as it was written first: for those who compare
	for _, p := range pipelineValues(top) {
		v, path := p.get("queue", queueEnd), p.path+".queue."+queueEnd
		if v == nil {
			continue
		}
		dir := v.get("dir")
		if dir == nil || v.get("stream") == nil { // at fault; what it says besides is looked at all the same
			uses = append(uses, queueUse{pipeline: p, path: path, dir: "\x00" + p.name, value: v})
			continue
		}
		dir.text = filepath.Clean(dir.text)
		absolute, err := filepath.Abs(dir.text)
		if err != nil { // the working directory is gone: nothing will be found in it
			absolute = dir.text
		}
		if spelling[absolute] == "" {
			spelling[absolute] = dir.text
		}
		dir.text = spelling[absolute]
		uses = append(uses, queueUse{p, path, absolute, v.get("stream").text, v})
	}
	return uses
}

// checkStreamName refuses names that get in the way of others in the same directory.
func checkStreamName(u *queueUse, said map[sharedKey]*queueUse, out *collector) {
	at, path := u.get("stream").at, u.path+".stream"
	key := sharedKey{u.dir, strings.ToLower(u.stream), "stream"}
	other := said[key]
	if other == nil {
		said[key] = u
	} else if other.stream != u.stream {
		out.add(at, path, "differs only in upper and lower case from the stream of pipeline %s in the same directory; rename one", other.pipeline.name)
	}
}

// checkAgree refuses what u says otherwise than other did.
func checkAgree(key sharedKey, other, u *queueUse, out *collector) {
	a, b := other.get(key.setting), u.get(key.setting)
	same := a.text == b.text
	what := "queue directory"
	if key.stream != "" { // numbers: 1GiB is 1024MiB
		same, what = a.num == b.num, "queue"
	}
	if same {
		return
	}
	// Neither is repeated: either may be secret, or come from a variable.
	out.add(b.at, u.path+"."+key.setting, "is another than at pipeline %s (line %d), which has the same %s; say it once, or the same twice", other.pipeline.name, a.at.line, what)
}

// checkListen refuses to let other machines in without a token, and to listen where something
// else of this file does.
func checkListen(top *value, uses []queueUse, said map[sharedKey]*queueUse, out *collector) {
	listens := map[string]bool{} // or wants to
	for i := range uses {
		if uses[i].mentioned["listen"] {
			listens[uses[i].dir] = true
		}
	}
	taken := map[string]string{}
	if admin := top.get("admin", "listen"); admin != nil {
		taken[admin.text] = "admin.listen"
	}
	for i := range uses {
		u := &uses[i]
		if token := u.said("token"); token.str() != "" && !listens[u.dir] {
			out.add(token.at, u.path+".token", "is for who connects to listen, which is missing; set listen, or remove this")
		}
		listen, path := u.get("listen"), u.path+".listen"
		if listen == nil || said[sharedKey{u.dir, "", "listen"}] != u {
			continue // not said, or told to the one who said it first
		}
		if other := taken[listen.text]; other != "" && !strings.HasSuffix(listen.text, ":0") {
			out.add(listen.at, path, "is the address of %s; choose another port", other)
		}
		taken[listen.text] = path
		if loopback(listen.text) {
			continue
		}
		token := said[sharedKey{u.dir, "", "token"}]
		atFault := slices.ContainsFunc(uses, func(o queueUse) bool {
			return o.dir == u.dir && o.mentioned["token"] && o.get("token") == nil
		})
		if !atFault && (token == nil || token.get("token").str() == "") {
			out.add(listen.at, path, "is not a loopback address, so token is needed beside it; set one, or listen at 127.0.0.1")
		}
	}
}

// settleSubject works out which subject a pipeline reads, given those who write to its queue.
func settleSubject(u *queueUse, writers []string, out *collector) {
	own, subject := u.pipeline.name, u.get("subject")
	if u.pipeline.mentioned["source"] {
		if subject != nil && subject.text != own {
			out.add(subject.at, u.path+".subject", "is for a pipeline without a source; this one reads what it put into the queue itself; remove it")
		}
		u.fields["subject"] = &value{at: u.at, text: own}
		return
	}
	if u.mentioned["subject"] || !u.pipeline.hasTarget() || len(writers) == 0 {
		return
	}
	if len(writers) > 1 {
		out.add(u.at, u.path+".subject", "is missing; %s put actions into this queue, so name the one whose actions to take", listed(writers))
		return
	}
	u.fields["subject"] = &value{at: u.at, text: writers[0]}
}
