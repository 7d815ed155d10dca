/** The seam between fabrics in C: a fabric is known in its folder, and in one line of the registry. */
import { describe, expect, test } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const SHIM = join(import.meta.dir, "..", "..", "ffi", "shim");
const REGISTRY = "core/fabrics.c";
/** What every fabric shares. */
const SHARED = ["core", "processes", "sandbox", "system"];

const sources = new Map(
  readdirSync(SHIM, { recursive: true, encoding: "utf8" })
    .filter((path) => /\.[ch]$/.test(path))
    .map((path) => [path, readFileSync(join(SHIM, path), "utf8")]),
);
const folders = [...new Set([...sources.keys()].map((path) => path.split("/")[0]!))];
const fabrics = folders.filter((folder) => !SHARED.includes(folder));

/** What the system's own names have in them. */
const SYSTEM =
  /\b(?:fi_shm|dev\/shm|RDMA_PS_TCP|IPPROTO_TCP|TCP_ESTABLISHED|TCP_INFO|TCP_NODELAY|TCP_KEEPIDLE|TCP_KEEPINTVL|TCP_KEEPCNT|TCP_DEFER_ACCEPT|netinet\/tcp\.h|tcp_info|TCP connection|TCP listener|peer_over_tcp|tcp;ofi_rxm)\b/g;

/** The lines outside the fabric's folder that name it, as `path: line`; comments are among them. */
function mentions(fabric: string): string[] {
  const named = new RegExp(`(?<![a-z])${fabric}(?![a-z])`, "i");
  return [...sources]
    .filter(([path]) => !path.startsWith(`${fabric}/`))
    .flatMap(([path, source]) =>
      source
        .split("\n")
        .filter((line) => named.test(line.replaceAll(SYSTEM, "")))
        .map((line) => `${path}: ${line.trim()}`),
    );
}

test("there are fabrics, and folders that they share", () => {
  expect(fabrics).toEqual(expect.arrayContaining(["shm", "verbs"]));
  expect(folders).toEqual(expect.arrayContaining(SHARED));
});

describe.each(fabrics)("the fabric %s", (fabric) => {
  test("is named outside its folder in one line of the registry, and nowhere else", () => {
    expect(mentions(fabric)).toEqual([
      expect.stringMatching(new RegExp(`^${REGISTRY}: X\\(${fabric}\\)( \\\\)?$`)),
    ]);
  });

  test("includes no other fabric's files", () => {
    const included = [...sources]
      .filter(([path]) => path.startsWith(`${fabric}/`))
      .flatMap(([, source]) => [...source.matchAll(/^#include "([^"]+)"/gm)].map(([, to]) => to!));
    expect(included.filter((to) => to.includes("/") && !/^\.\.\/(core|system)\//.test(to))).toEqual(
      [],
    );
  });
});

test("the folders that fabrics share include none of them", () => {
  const included = [...sources]
    .filter(([path]) => SHARED.includes(path.split("/")[0]!))
    .flatMap(([, source]) => [...source.matchAll(/^#include "([^"]+)"/gm)].map(([, to]) => to!));
  expect(included.filter((to) => fabrics.some((fabric) => to.includes(`${fabric}/`)))).toEqual([]);
});
