package config

import "strings"

// maxSlotName is how long PostgreSQL's names may be, in bytes.
const maxSlotName = 63

// defaultSlot is the slot of a stream where the file names none: waybill_NAME_TARGET.
func defaultSlot(stream string) string {
	return "waybill_" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(stream))
}

// checkLogs holds what a PostgreSQL source says of its log against what it captures, and refuses
// slots that would be the same.
func checkLogs(top *value, out *collector) {
	taken := map[string]string{} // slot to stream
	for _, p := range pipelineValues(top) {
		pg := p.get("source", "postgres")
		capture, read := pg.get("capture").str(), pg.get("outbox", "read").str()
		if checkCapture(&p, pg, out); pg == nil || capture != captureChanges && (capture != captureOutbox || read != readWAL) {
			continue
		}
		streams := p.sourceStreams()
		slot := pg.get("slot")
		if slot != nil && len(streams) > 1 {
			out.add(slot.at, p.path+".source.postgres.slot", "cannot be shared by the targets, of which each has a slot of its own; remove it")
			continue
		}
		for _, stream := range streams {
			name, at := defaultSlot(stream), pg.at
			if slot != nil {
				name, at = slot.text, slot.at
			} else if pg.mentioned["slot"] { // at fault
				continue
			}
			path := p.path + ".source.postgres.slot"
			if len(name) > maxSlotName {
				out.add(at, path, "would be %s for stream %s, which is longer than PostgreSQL's %d letters; name the slot, or shorten the names of pipeline and target", name, stream, maxSlotName)
			} else if other, again := taken[name]; again {
				out.add(at, path, "is %s for stream %s, and for %s too; name another, or rename a pipeline or target", name, stream, other)
			} else {
				taken[name] = stream
			}
		}
	}
}

// checkCapture refuses keys that do nothing for what the pipeline captures.
func checkCapture(p *pipelineValue, pg *value, out *collector) {
	path := p.path + ".source.postgres"
	capture, read := pg.get("capture").str(), pg.get("outbox", "read").str()
	polls := capture == captureOutbox && read == readPoll
	if v := p.get("max_slot_bytes"); p.mentioned["max_slot_bytes"] && v != nil && (polls || p.get("source", "sqlite") != nil || !p.mentioned["source"]) {
		out.add(v.at, p.path+".max_slot_bytes", "is for a postgres source that reads the log (capture: changes, or outbox.read: wal); remove it")
	}
	switch capture {
	case captureChanges:
		if !pg.mentioned["tables"] {
			out.add(pg.at, path+".tables", "is missing; it must be %s", partOf("source").has("postgres").has("tables").expects())
		}
		if v := pg.get("outbox"); pg.mentioned["outbox"] && v != nil {
			out.add(v.at, path+".outbox", "is for capture: outbox; remove it")
		}
	case captureOutbox:
		if v := pg.get("tables"); v != nil {
			out.add(v.at, path+".tables", "is for capture: changes; an outbox needs no tables; remove it")
		}
	}
	if v := pg.get("slot"); v != nil && polls {
		out.add(v.at, path+".slot", "is for capture: changes, or outbox.read: wal; reading by poll needs no slot; remove it")
	}
}

// sourceStreams are the pipeline's consumers of its source, as Pipeline.SourceStreams tells them.
func (p *pipelineValue) sourceStreams() []string {
	if p.mentioned["queue"] {
		return []string{p.name + "/" + queueEnd}
	}
	var all []string
	for _, t := range p.targets() {
		all = append(all, p.name+"/"+t.name)
	}
	return all
}
