/** What a build from source says and refuses, and which systems its shim runs on. */
import { beforeAll, describe, expect, test } from "bun:test";
import { OLDEST_GLIBC } from "../../build/pack/system/glibc.ts";
import { buildShim } from "../../ffi/build.ts";
import { readLibraryFile } from "../../src/library/library-file.ts";
import { testWith } from "../support/compilers.ts";
import { RFAAS, ROOT } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

// Nothing is left to compile: what the tests below see hidden is not to be missing from the shim.
beforeAll(() => void buildShim());

/** Where nothing but this process sees it, an empty folder hides the headers. */
const HIDDEN = "mount -t tmpfs none /usr/include/infiniband && exec";
const mayHide = Bun.spawnSync(["unshare", "--mount", "sh", "-c", `${HIDDEN} true`]).exitCode === 0;
if (!mayHide)
  console.error("SKIPPED: builds without RDMA headers: hiding them takes root, and the headers");

/** Runs one of our programs where the headers of libibverbs are missing. */
function withoutHeaders(...command: string[]) {
  const script = `${HIDDEN} "$@"`;
  const done = Bun.spawnSync(
    ["unshare", "--mount", "sh", "-c", script, "sh", process.execPath, ...command],
    { cwd: ROOT },
  );
  return { exitCode: done.exitCode, stderr: done.stderr.toString() };
}

describe.skipIf(!mayHide)("without the headers of libibverbs", () => {
  test("a build goes on, and says once which packages bring RDMA", () => {
    const { exitCode, stderr } = withoutHeaders("ffi/build.ts");
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(stderr).toContain("goes on without RDMA");
    expect(stderr).toContain("libibverbs-dev librdmacm-dev");
    expect(stderr).toContain("rdma-core-devel");
    expect(exitCode).toBe(0);
  });

  test("a quiet build says nothing", () => {
    expect(withoutHeaders("ffi/build.ts", "--quiet")).toEqual({ exitCode: 0, stderr: "" });
  });

  test("npm run pack refuses, in one sentence", () => {
    const { exitCode, stderr } = withoutHeaders("build/pack.ts");
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(
      /^pack: what users install has RDMA: [^\n]*infiniband[^\n]* is missing; install libibverbs-dev [^\n]*\n$/,
    );
  });
});

test("a build with all headers says nothing", () => {
  const done = Bun.spawnSync([process.execPath, "ffi/build.ts"], { cwd: ROOT });
  expect(done.stderr.toString()).toBe("");
  expect(done.exitCode).toBe(0);
});

/** Compiles the shim with one compiler, for which no warning is too small. Returns what it exports. */
function exportedBy(cc: string, scratch: Scratch): readonly string[] {
  const shim = scratch.join(`${cc}.so`);
  const script = `(await import("./ffi/build.ts")).compileShim("ffi/shim", ${JSON.stringify(shim)})`;
  const done = Bun.spawnSync([process.execPath, "-e", script], {
    cwd: ROOT,
    env: { ...process.env, CC: cc, CI: "1" },
  });
  expect([cc, done.stderr.toString(), done.exitCode]).toEqual([cc, "", 0]);
  return readLibraryFile(shim).functions;
}

testWith(["gcc", "clang"])(
  "gcc and clang compile the same shim, without a warning",
  () => {
    using scratch = new Scratch();
    const [first, second] = ["gcc", "clang"].map((cc) => exportedBy(cc, scratch));
    expect(second).toEqual(first!);
    expect(first).toContain("rfaas_call");
  },
  60_000,
);

/** The newest glibc that a file asks for. */
function glibcOf(file: string): string {
  const { stdout } = Bun.spawnSync(["readelf", "--wide", "--version-info", file]);
  const asked = [...stdout.toString().matchAll(/\bGLIBC_(2[.\d]*)/g)].map(
    ([, version]) => version!,
  );
  return asked.toSorted(Bun.semver.order).at(-1)!;
}

test("executable and shim ask for no newer glibc than packages declare", () => {
  for (const file of [RFAAS, buildShim()])
    expect([glibcOf(file), OLDEST_GLIBC].toSorted(Bun.semver.order).at(-1)).toBe(OLDEST_GLIBC);
});
