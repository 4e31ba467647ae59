// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"slices"
	"strings"
)

// span is a run of addresses of one family; both ends are in it.
type span struct{ from, to netip.Addr }

// spans are sorted, and none touches the next.
type spans []span

func lastOf(p netip.Prefix) netip.Addr {
	bytes := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(bytes); bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

// parseSpan reads an address, FROM-TO or a subnet.
func parseSpan(text string) (span, error) {
	if first, last, is := strings.Cut(text, "-"); is {
		from, err := netip.ParseAddr(first)
		if err != nil {
			return span{}, err
		}
		to, err := netip.ParseAddr(last)
		if err == nil && (from.Is4() != to.Is4() || to.Less(from)) {
			err = fmt.Errorf("%s is no range", text)
		}
		return span{from, to}, err
	}
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return span{}, err
		}
		return span{p.Masked().Addr(), lastOf(p)}, nil
	}
	a, err := netip.ParseAddr(text)
	return span{a, a}, err
}

func newSpans(list []span) spans {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(a, b span) int { return cmp.Or(a.from.Compare(b.from), a.to.Compare(b.to)) })
	var all spans
	for _, s := range sorted {
		last := len(all) - 1
		if last >= 0 && s.from.Is4() == all[last].to.Is4() &&
			(s.from.Compare(all[last].to) <= 0 || s.from == all[last].to.Next()) {
			if all[last].to.Less(s.to) {
				all[last].to = s.to
			}
			continue
		}
		all = append(all, s)
	}
	return all
}

func (l spans) without(gone span) spans {
	var all spans
	for _, s := range l {
		if gone.to.Less(s.from) || s.to.Less(gone.from) {
			all = append(all, s)
			continue
		}
		if s.from.Less(gone.from) {
			all = append(all, span{s.from, gone.from.Prev()})
		}
		if gone.to.Less(s.to) {
			all = append(all, span{gone.to.Next(), s.to})
		}
	}
	return all
}

func (l spans) holds(a netip.Addr) bool {
	return slices.ContainsFunc(l, func(s span) bool { return s.from.Compare(a) <= 0 && a.Compare(s.to) <= 0 })
}

func (l spans) count() int {
	total := new(big.Int)
	for _, s := range l {
		size := new(big.Int).SetBytes(s.to.AsSlice())
		size.Sub(size, new(big.Int).SetBytes(s.from.AsSlice()))
		total.Add(total, size.Add(size, big.NewInt(1)))
	}
	if !total.IsInt64() {
		return math.MaxInt
	}
	return int(total.Int64())
}

// free is the lowest address that is not used.
func (l spans) free(used map[netip.Addr]bool) (netip.Addr, bool) {
	for _, s := range l {
		for a := s.from; ; a = a.Next() {
			if !used[a] {
				return a, true
			}
			if a == s.to {
				break
			}
		}
	}
	return netip.Addr{}, false
}

// allocatable is what a pool gives out: its addresses but for excluded ones, the gateway, and what its subnet keeps
// for itself (the first, of IPv4 the last too).
func (s *ipPoolSpec) allocatable() (spans, error) {
	read := func(texts []string) (list []span, err error) {
		for _, text := range texts {
			one, err := parseSpan(text)
			if err != nil {
				return nil, err
			}
			list = append(list, one)
		}
		return list, nil
	}
	list, err := read(s.Addresses)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	gone, err := read(s.ExcludedAddresses)
	if err != nil {
		return nil, err
	}
	all := newSpans(list)
	if subnet := netip.PrefixFrom(all[0].from, s.Prefix); !s.AllocateReservedIPAddresses && subnet.IsValid() {
		first, last := subnet.Masked().Addr(), lastOf(subnet)
		gone = append(gone, span{first, first})
		if first.Is4() {
			gone = append(gone, span{last, last})
		}
	}
	if gateway, err := netip.ParseAddr(s.Gateway); err == nil {
		gone = append(gone, span{gateway, gateway})
	}
	for _, one := range gone {
		all = all.without(one)
	}
	return all, nil
}
