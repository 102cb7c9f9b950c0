package pgvalue

// Builtin is the type that every server has under an OID below 10000, without modifiers.
func Builtin(oid uint32) (*Type, bool) {
	t, ok := builtin[oid]
	return t, ok
}

// builtin is what PostgreSQL's catalog lists, never modified.
var builtin = builtins()

func builtins() map[uint32]*Type {
	types := make(map[uint32]*Type, 192)
	for _, b := range builtinBases {
		types[b.oid] = New(b.oid, 0, b.name, -1, Base, nil, 0)
	}
	for _, b := range builtinRanges {
		types[b.oid] = New(b.oid, 0, b.name, -1, Range, types[b.element], 0)
		types[b.multirange] = New(b.multirange, 0, b.multirangeName, -1, Multirange, types[b.oid], 0)
	}
	for _, b := range builtinArrays {
		element := types[b.element]
		delimiter := byte(',')
		if b.element == oidBox {
			delimiter = ';'
		}
		types[b.oid] = New(b.oid, 0, element.Name+"[]", -1, Array, element, delimiter)
	}
	return types
}

var builtinBases = []struct {
	oid  uint32
	name string
}{
	{16, "boolean"},
	{17, "bytea"},
	{18, `"char"`},
	{19, "name"},
	{20, "bigint"},
	{21, "smallint"},
	{22, "int2vector"},
	{23, "integer"},
	{24, "regproc"},
	{25, "text"},
	{26, "oid"},
	{27, "tid"},
	{28, "xid"},
	{29, "cid"},
	{30, "oidvector"},
	{114, "json"},
	{142, "xml"},
	{600, "point"},
	{601, "lseg"},
	{602, "path"},
	{603, "box"},
	{604, "polygon"},
	{628, "line"},
	{650, "cidr"},
	{700, "real"},
	{701, "double precision"},
	{718, "circle"},
	{774, "macaddr8"},
	{790, "money"},
	{829, "macaddr"},
	{869, "inet"},
	{1033, "aclitem"},
	{1042, "character"},
	{1043, "character varying"},
	{1082, "date"},
	{1083, "time without time zone"},
	{1114, "timestamp without time zone"},
	{1184, "timestamp with time zone"},
	{1186, "interval"},
	{1266, "time with time zone"},
	{1560, "bit"},
	{1562, "bit varying"},
	{1700, "numeric"},
	{1790, "refcursor"},
	{2202, "regprocedure"},
	{2203, "regoper"},
	{2204, "regoperator"},
	{2205, "regclass"},
	{2206, "regtype"},
	{2950, "uuid"},
	{2970, "txid_snapshot"},
	{3220, "pg_lsn"},
	{3614, "tsvector"},
	{3615, "tsquery"},
	{3642, "gtsvector"},
	{3734, "regconfig"},
	{3769, "regdictionary"},
	{3802, "jsonb"},
	{4072, "jsonpath"},
	{4089, "regnamespace"},
	{4096, "regrole"},
	{4191, "regcollation"},
	{5038, "pg_snapshot"},
	{5069, "xid8"},
}

var builtinRanges = []struct {
	oid            uint32
	name           string
	element        uint32
	multirange     uint32
	multirangeName string
}{
	{3904, "int4range", 23, 4451, "int4multirange"},
	{3906, "numrange", 1700, 4532, "nummultirange"},
	{3908, "tsrange", 1114, 4533, "tsmultirange"},
	{3910, "tstzrange", 1184, 4534, "tstzmultirange"},
	{3912, "daterange", 1082, 4535, "datemultirange"},
	{3926, "int8range", 20, 4536, "int8multirange"},
}

var builtinArrays = []struct{ oid, element uint32 }{
	{143, 142},
	{199, 114},
	{271, 5069},
	{629, 628},
	{651, 650},
	{719, 718},
	{775, 774},
	{791, 790},
	{1000, 16},
	{1001, 17},
	{1002, 18},
	{1003, 19},
	{1005, 21},
	{1006, 22},
	{1007, 23},
	{1008, 24},
	{1009, 25},
	{1010, 27},
	{1011, 28},
	{1012, 29},
	{1013, 30},
	{1014, 1042},
	{1015, 1043},
	{1016, 20},
	{1017, 600},
	{1018, 601},
	{1019, 602},
	{1020, 603},
	{1021, 700},
	{1022, 701},
	{1027, 604},
	{1028, 26},
	{1034, 1033},
	{1040, 829},
	{1041, 869},
	{1115, 1114},
	{1182, 1082},
	{1183, 1083},
	{1185, 1184},
	{1187, 1186},
	{1231, 1700},
	{1270, 1266},
	{1561, 1560},
	{1563, 1562},
	{2201, 1790},
	{2207, 2202},
	{2208, 2203},
	{2209, 2204},
	{2210, 2205},
	{2211, 2206},
	{2949, 2970},
	{2951, 2950},
	{3221, 3220},
	{3643, 3614},
	{3644, 3642},
	{3645, 3615},
	{3735, 3734},
	{3770, 3769},
	{3807, 3802},
	{3905, 3904},
	{3907, 3906},
	{3909, 3908},
	{3911, 3910},
	{3913, 3912},
	{3927, 3926},
	{4073, 4072},
	{4090, 4089},
	{4097, 4096},
	{4192, 4191},
	{5039, 5038},
	{6150, 4451},
	{6151, 4532},
	{6152, 4533},
	{6153, 4534},
	{6155, 4535},
	{6157, 4536},
}
