package dnswire

import "strconv"

// Type is the type of a resource record, or what a question asks for.
type Type uint16

// The types that this package knows by name.
const (
	TypeNone   Type = 0
	TypeA      Type = 1
	TypeNS     Type = 2
	TypeMD     Type = 3
	TypeMF     Type = 4
	TypeCNAME  Type = 5
	TypeSOA    Type = 6
	TypeMB     Type = 7
	TypeMG     Type = 8
	TypeMR     Type = 9
	TypeNULL   Type = 10
	TypePTR    Type = 12
	TypeHINFO  Type = 13
	TypeMINFO  Type = 14
	TypeMX     Type = 15
	TypeTXT    Type = 16
	TypeRP     Type = 17
	TypeAFSDB  Type = 18
	TypeRT     Type = 21
	TypeSIG    Type = 24
	TypeKEY    Type = 25
	TypePX     Type = 26
	TypeAAAA   Type = 28
	TypeLOC    Type = 29
	TypeNXT    Type = 30
	TypeSRV    Type = 33
	TypeNAPTR  Type = 35
	TypeKX     Type = 36
	TypeDNAME  Type = 39
	TypeOPT    Type = 41
	TypeDS     Type = 43
	TypeRRSIG  Type = 46
	TypeNSEC   Type = 47
	TypeDNSKEY Type = 48
	TypeNSEC3  Type = 50
	TypeTLSA   Type = 52
	TypeSVCB   Type = 64
	TypeHTTPS  Type = 65
	TypeSPF    Type = 99
	TypeTSIG   Type = 250
	TypeIXFR   Type = 251
	TypeAXFR   Type = 252
	TypeANY    Type = 255
	TypeCAA    Type = 257
)

// String returns the type's mnemonic, or TYPE1234 for one without (RFC 3597 §5).
func (t Type) String() string {
	switch t {
	case TypeA:
		return "A"
	case TypeNS:
		return "NS"
	case TypeMD:
		return "MD"
	case TypeMF:
		return "MF"
	case TypeCNAME:
		return "CNAME"
	case TypeSOA:
		return "SOA"
	case TypeMB:
		return "MB"
	case TypeMG:
		return "MG"
	case TypeMR:
		return "MR"
	case TypeNULL:
		return "NULL"
	case TypePTR:
		return "PTR"
	case TypeHINFO:
		return "HINFO"
	case TypeMINFO:
		return "MINFO"
	case TypeMX:
		return "MX"
	case TypeTXT:
		return "TXT"
	case TypeRP:
		return "RP"
	case TypeAFSDB:
		return "AFSDB"
	case TypeRT:
		return "RT"
	case TypeSIG:
		return "SIG"
	case TypeKEY:
		return "KEY"
	case TypePX:
		return "PX"
	case TypeAAAA:
		return "AAAA"
	case TypeLOC:
		return "LOC"
	case TypeNXT:
		return "NXT"
	case TypeSRV:
		return "SRV"
	case TypeNAPTR:
		return "NAPTR"
	case TypeKX:
		return "KX"
	case TypeDNAME:
		return "DNAME"
	case TypeOPT:
		return "OPT"
	case TypeDS:
		return "DS"
	case TypeRRSIG:
		return "RRSIG"
	case TypeNSEC:
		return "NSEC"
	case TypeDNSKEY:
		return "DNSKEY"
	case TypeNSEC3:
		return "NSEC3"
	case TypeTLSA:
		return "TLSA"
	case TypeSVCB:
		return "SVCB"
	case TypeHTTPS:
		return "HTTPS"
	case TypeSPF:
		return "SPF"
	case TypeTSIG:
		return "TSIG"
	case TypeIXFR:
		return "IXFR"
	case TypeAXFR:
		return "AXFR"
	case TypeANY:
		return "ANY"
	case TypeCAA:
		return "CAA"
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// Class is the class of a record or question, without the top bit that mDNS
// uses for something else; see TopBit.
type Class uint16

// The classes in use.
const (
	ClassIN   Class = 1
	ClassCH   Class = 3
	ClassHS   Class = 4
	ClassNONE Class = 254 // RFC 2136 §2.4
	ClassANY  Class = 255
)

// String returns the class's mnemonic, or CLASS1234 for one without (RFC 3597 §5).
func (c Class) String() string {
	switch c {
	case ClassIN:
		return "IN"
	case ClassCH:
		return "CH"
	case ClassHS:
		return "HS"
	case ClassNONE:
		return "NONE"
	case ClassANY:
		return "ANY"
	}
	return "CLASS" + strconv.Itoa(int(c))
}

// TopBit is the bit of the wire's class field that mDNS takes for itself: QU in
// a question (RFC 6762 §5.4), cache-flush in a record (§10.2). Class fields in
// this package are without it. An OPT record's class is a size in bytes and
// keeps all of its bits (RFC 6891 §6.1.2).
const TopBit = 0x8000

// Section is the part of a message that a record stands in.
type Section uint8

// The sections that hold records.
const (
	Answer Section = iota + 1
	Authority
	Additional
)

// String returns the section's name in lower case.
func (s Section) String() string {
	switch s {
	case Answer:
		return "answer"
	case Authority:
		return "authority"
	case Additional:
		return "additional"
	}
	return "section " + strconv.Itoa(int(s))
}
