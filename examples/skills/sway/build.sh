#!/bin/sh
# Builds sway.wasm into the folder that is named, from what Debian and cargo have:
#     apt install clang lld wasi-libc
#     cargo install wit-bindgen-cli --version 0.61.1 --no-default-features --features c
# wasm-component-ld comes with the Rust toolchain. The C library is linked for malloc and
# memcpy; nothing of WASI is imported by a skill that calls nothing of it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?name a folder}
wit-bindgen c "$here/../../../skill-host/wit" --world skill --out-dir "$out" > /dev/null
for source in "$here/sway.c" "$out/skill.c"; do
    clang --target=wasm32-wasi -Os -Wall -I "$out" -c "$source" -o "$out/$(basename "$source" .c).o"
done
ld=$(find "$(rustc --print sysroot)" -name wasm-component-ld -type f | head -n 1)
"$ld" --wasm-ld-path "$(command -v wasm-ld)" --no-entry --strip-all -L /usr/lib/wasm32-wasi \
    "$out/sway.o" "$out/skill.o" "$out/skill_component_type.o" -lc -o "$out/sway.wasm"
