#!/bin/sh
# Writes vdpbf16ps.txt with GNU as and objdump: each register in each place, the other two running through all others.
set -e
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
for i in $(seq 0 31); do
	for j in $(seq 0 31); do
		echo "vdpbf16ps %zmm$j, %zmm$(((i + 3 * j) % 32)), %zmm$i"
	done
done >"$work/list.s"
as -o "$work/list.o" "$work/list.s"
objdump -d --insn-width=6 "$work/list.o" |
	sed -n 's/^ *[0-9a-f]*:\t\(\(.. \)*\) *\tvdpbf16ps %zmm\([0-9]*\),%zmm\([0-9]*\),%zmm\([0-9]*\)$/\5 \4 \3 \1/p' |
	awk '{ s = ""; for (i = 4; i <= NF; i++) s = s $i; print $1, $2, $3, s }' >vdpbf16ps.txt
