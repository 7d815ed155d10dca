/** Functions as packages: from a file to a node that has never seen it, with the executable and real nodes. */
import { beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import {
  type FunctionError,
  type Invoker,
  type Lease,
  ModuleLoadError,
  PackageInvalid,
  PackageTooLarge,
  PackageUnknown,
  type UploadProgress,
  UsageError,
  invoker,
} from "../support/library.ts";
import { CountingWay } from "../support/counting-way.ts";
import { RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";

beforeAll(() => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
});

/** A node with a cache of its own, and a folder for modules. */
async function fresh(args: readonly string[] = []) {
  const scratch = new Scratch();
  const node = await ServedNode.start(scratch.join("node.sock"), [
    ...["--cache", scratch.join("cache")],
    ...(args.includes("--cores") ? [] : ["--cores", "4"]),
    ...args,
  ]);
  return {
    node,
    scratch,
    module(path: string, text: string): string {
      mkdirSync(dirname(scratch.join(path)), { recursive: true });
      return scratch.file(path, text);
    },
    async [Symbol.asyncDispose]() {
      await node[Symbol.asyncDispose]();
      scratch[Symbol.dispose]();
    },
  };
}

const returns = (text: string) =>
  `export const say = (_: Uint8Array, output: Uint8Array) => new TextEncoder().encodeInto(${text}, output).written;\n`;

/** What the lease's function `say` writes. */
function said(lease: Lease, worker = 0, name = "say"): string {
  const output = lease.output(Uint8Array, 4096, { worker });
  const written = lease.invoke(name, lease.input(Uint8Array, 8, { worker }), output, { worker });
  return new TextDecoder().decode(output.slice(0, written));
}

/** As {@link said}, for leases whose calls come by a way in this program, which a call that blocks would keep waiting. */
async function saidOver(lease: Lease, worker = 0): Promise<string> {
  const output = lease.output(Uint8Array, 4096, { worker });
  const input = lease.input(Uint8Array, 8, { worker });
  const written = await lease.submit("say", input, output, { worker });
  return new TextDecoder().decode(output.slice(0, written));
}

async function failure(rf: Invoker, ...request: Parameters<Invoker["allocate"]>): Promise<Error> {
  return await rf.allocate(...request).then(
    async (lease) => {
      await lease.release();
      throw new Error("the lease was granted");
    },
    (error: Error) => error,
  );
}

describe("a module", () => {
  test("comes with its imports, from wherever it lies", async () => {
    await using at = await fresh();
    at.module(
      "lib/deep/text.ts",
      "enum Greeting { hello = 'hello' }\nexport const text: string = Greeting.hello;\n",
    );
    at.module("node_modules/dep/package.json", '{"name":"dep","main":"index.js"}');
    at.module("node_modules/dep/index.js", "exports.world = () => 'world';\n");
    at.module("tsconfig.json", '{"compilerOptions":{"paths":{"@lib/*":["./lib/*"]}}}');
    at.module("data.json", '{"mark":"!"}');
    const path = at.module(
      "app/fn.ts",
      `import { text } from "@lib/deep/text.ts";\nimport { world } from "dep";\nimport data from "../data.json";\n${returns("text + ' ' + world() + data.mark")}`,
    );
    await using rf = await invoker({ node: at.node.address });
    await using lease = await rf.allocate(path);
    expect(said(lease)).toBe("hello world!");
    // Nothing of it is needed any more.
    renameSync(at.scratch.join("app"), at.scratch.join("gone"));
    await using again = await rf.allocate(`package:${(await rf.packages.list())[0]!.hash}`);
    expect(said(again)).toBe("hello world!");
  });

  test("is sent once: who comes later, from another process too, sends a request for a lease", async () => {
    await using at = await fresh();
    const path = at.module("fn.ts", `${returns("'x'")}//${"y".repeat(100_000)}`);
    at.module("model.bin", "m".repeat(1_000_000));
    const first = await rfaas([
      ...["invoke", path, "--include", "model.bin", "--node", at.node.address],
    ]);
    expect([first.stdout, first.exitCode]).toEqual(["x", 0]);
    using way = await CountingWay.open(at.scratch.join("way.sock"), at.node.address);
    const again = ["invoke", path, "--include", "model.bin", "--node", way.address];
    expect((await rfaas(again)).stdout).toBe("x");
    // A lease that is over before it is redeemed need not be.
    const sent = way.sent.filter((t) => t !== "redeem");
    expect(sent).toEqual(["hello", "allocate", "release"]);
    expect(way.sentBytes).toBeLessThan(2000);
    expect(at.node.stderr.match(/package fn\.ts \(\w+\) stored/g)).toHaveLength(1);
  });

  test("that has changed is another package, of which only the change is sent", async () => {
    await using at = await fresh();
    const path = at.module("fn.ts", returns("'one'"));
    at.module("model.bin", "m".repeat(1_000_000));
    using way = await CountingWay.open(at.scratch.join("way.sock"), at.node.address);
    await using rf = await invoker({ node: way.address });
    const include = ["model.bin"];
    await using one = await rf.allocate(path, { include });
    const before = way.sentBytes;
    at.module("fn.ts", returns("'two'"));
    await using two = await rf.allocate(path, { include });
    expect([await saidOver(one), await saidOver(two)]).toEqual(["one", "two"]);
    expect(before).toBeGreaterThan(1_000_000);
    expect(way.sentBytes - before).toBeLessThan(10_000);
  });

  test("that is allocated by many at once is sent once by each client", async () => {
    await using at = await fresh();
    const path = at.module("fn.ts", returns("'x'"));
    using way = await CountingWay.open(at.scratch.join("way.sock"), at.node.address);
    const clients = await Promise.all([1, 2].map(() => invoker({ node: way.address })));
    const leases = await Promise.all([...clients, ...clients].map((rf) => rf.allocate(path)));
    expect(await Promise.all(leases.map((lease) => saidOver(lease)))).toEqual(["x", "x", "x", "x"]);
    expect(way.count("offer-package")).toBeLessThanOrEqual(2);
    await Promise.all(clients.map((rf) => rf.close()));
  });

  test("in CommonJS keeps the names of its functions", async () => {
    await using at = await fresh();
    const path = at.module(
      "fn.cjs",
      "module.exports.say = (_, output) => { output[0] = 65; return 1; };\nmodule.exports.other = () => 0;\n",
    );
    await using rf = await invoker({ node: at.node.address });
    await using lease = await rf.allocate(path);
    expect(lease.functions).toEqual(["other", "say"]);
    expect(said(lease)).toBe("A");
  });

  test("may have a thousand functions", async () => {
    await using at = await fresh();
    const numbers = Array.from({ length: 1000 }, (_, i) => i);
    const path = at.module(
      "many.ts",
      numbers
        .map(
          (i) =>
            `export const f${i} = (_: Uint8Array, out: Uint8Array) => new TextEncoder().encodeInto("${i}", out).written;`,
        )
        .join("\n"),
    );
    await using rf = await invoker({ node: at.node.address });
    await using lease = await rf.allocate(path);
    expect(lease.functions).toHaveLength(1000);
    for (const i of [0, 1, 499, 998, 999]) expect(said(lease, 0, `f${i}`)).toBe(String(i));
  });
});

describe("assets", () => {
  test("lie where the module expects them", async () => {
    await using at = await fresh();
    at.module("model.onnx", "model");
    at.module("data/a.bin", "a");
    at.module("data/b.bin", "b");
    at.module("data/not.txt", "no");
    at.module("imported.bin", "imported");
    const path = at.module(
      "fn.ts",
      `import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import imported from "./imported.bin" with { type: "file" };
const read = (path: string | URL) => readFileSync(path, "utf8");
${returns(`[
  read(new URL("./model.onnx", import.meta.url)),
  read(join(import.meta.dir, "data/a.bin")),
  read(new URL("data/b.bin", import.meta.url)),
  read(imported),
  existsSync(join(import.meta.dir, "data/" + ["txt", "not"].reverse().join("."))),
].join()`)}`,
    );
    await using rf = await invoker({ node: at.node.address });
    await using lease = await rf.allocate(path, { include: ["model.onnx", "data/*.bin"] });
    expect(said(lease)).toBe("model,a,b,imported,false");
  });

  test("that climb out, or are not there, are wrong usage", async () => {
    await using at = await fresh();
    at.module("secret", "s");
    const path = at.module("app/fn.ts", returns("'x'"));
    await using rf = await invoker({ node: at.node.address });
    for (const [pattern, says] of [
      ["../secret", "does not stay in"],
      ["data/../../secret", "does not stay in"],
      ["/etc/passwd", "does not stay in"],
      ["", "does not stay in"],
      ["missing.bin", "names no file"],
      ["*.nothing", "names no file"],
    ] as const) {
      const error = await failure(rf, path, { include: [pattern] });
      expect(error).toBeInstanceOf(UsageError);
      expect(error.message).toContain(says);
    }
  });

  test("that are links out of the folder are refused, links within it are followed", async () => {
    await using at = await fresh();
    at.module("secret", "s");
    at.module("app/real.bin", "real");
    mkdirSync(at.scratch.join("elsewhere"));
    at.module("elsewhere/x", "x");
    symlinkSync("../secret", at.scratch.join("app/out.bin"));
    symlinkSync("../elsewhere", at.scratch.join("app/folder"));
    symlinkSync("real.bin", at.scratch.join("app/in.bin"));
    const path = at.module(
      "app/fn.ts",
      `import { readFileSync } from "node:fs";\n${returns("readFileSync(import.meta.dir + '/in.bin', 'utf8')")}`,
    );
    await using rf = await invoker({ node: at.node.address });
    for (const pattern of ["out.bin", "*.bin", "folder", "folder/x", "."]) {
      const error = await failure(rf, path, { include: [pattern] });
      expect(error).toBeInstanceOf(PackageInvalid);
      expect(error.message).toContain("leads out of");
    }
    await using lease = await rf.allocate(path, { include: ["in.bin"] });
    expect(said(lease)).toBe("real");
  });

  test("of 200 MB are sent once, with progress, and hold up no other message", async () => {
    await using at = await fresh();
    const bytes = 200 * 1024 * 1024;
    at.module("large.bin", "");
    const file = Bun.file(at.scratch.join("large.bin")).writer();
    const mebibyte = crypto.getRandomValues(new Uint8Array(65_536));
    for (let i = 0; i < bytes / mebibyte.length; i++) {
      mebibyte[0] = i & 255;
      await file.write(mebibyte);
      await file.flush();
    }
    await file.end();
    const path = at.module(
      "fn.ts",
      `import { statSync } from "node:fs";\n${returns("String(statSync(import.meta.dir + '/large.bin').size)")}`,
    );
    await using rf = await invoker({ node: at.node.address });
    const progress: UploadProgress[] = [];
    let answered = 0;
    const statuses: Promise<unknown>[] = [];
    await using lease = await rf.allocate(path, {
      include: ["large.bin"],
      onProgress: (at) => {
        progress.push(at);
        statuses.push(rf.status().then(() => void answered++));
      },
    });
    // The last ones are behind the grant.
    expect(answered).toBeGreaterThan(statuses.length - 3);
    await Promise.all(statuses);
    expect(said(lease)).toBe(String(bytes));
    expect(progress[0]!.sentBytes).toBe(0);
    expect(progress.at(-1)!.sentBytes).toBe(progress[0]!.totalBytes);
    expect(progress[0]!.totalBytes).toBeGreaterThan(bytes);
    const sent = progress.map(({ sentBytes }) => sentBytes);
    expect(sent).toEqual(sent.toSorted((a, b) => a - b));
    progress.length = 0;
    await using again = await rf.allocate(path, {
      include: ["large.bin"],
      onProgress: (at) => void progress.push(at),
    });
    expect(said(again)).toBe(String(bytes));
    expect(progress).toEqual([]);
  }, 60_000);
});

describe("errors name the author's own lines", () => {
  test("of an imported file, in what a function throws", async () => {
    await using at = await fresh();
    const helper = at.module(
      "lib/helper.ts",
      "interface Unused { a: string }\n\nexport function fail(n: number): number {\n  if (n >= 0)\n    throw new TypeError(`no ${n}`);\n  return 1;\n}\n",
    );
    const path = at.module(
      "fn.ts",
      'import { fail } from "./lib/helper.ts";\n\nexport const say = (input: Uint8Array): number => {\n  const n = fail(input.length);\n  return n;\n};\n',
    );
    await using rf = await invoker({ node: at.node.address });
    await using lease = await rf.allocate(path);
    let error: FunctionError | undefined;
    try {
      said(lease);
    } catch (thrown) {
      error = thrown as FunctionError;
    }
    expect(error?.message).toBe("no 8");
    expect(error?.remoteStack).toContain(`${helper}:5:15`);
    expect(error?.remoteStack).toContain(`${path}:4:`);
    expect(error?.remoteStack).not.toContain("cache");
  });

  test("in what a module throws while it loads", async () => {
    await using at = await fresh();
    const path = at.module(
      "fn.ts",
      "type A = 1;\n\nexport const f = () => 0;\nthrow new RangeError('not today');\n",
    );
    await using rf = await invoker({ node: at.node.address });
    const error = (await failure(rf, path)) as ModuleLoadError;
    expect(error).toBeInstanceOf(ModuleLoadError);
    expect(error.module).toBe(path);
    expect((error.cause as Error).stack).toContain(`${path}:4:`);
  });

  test("in what does not compile, with the line itself", async () => {
    await using at = await fresh();
    const helper = at.module("lib/helper.ts", "export const a = 1;\nexport const b = ;\n");
    const path = at.module("fn.ts", 'export * from "./lib/helper.ts";\n');
    await using rf = await invoker({ node: at.node.address });
    const error = (await failure(rf, path)) as ModuleLoadError;
    expect([error.code, error.module]).toEqual(["RFAAS_MODULE_FAILED", path]);
    expect(error.message).toContain(`${helper}:2:18: Unexpected ;`);
    expect(error.message).toContain("    export const b = ;\n");
    expect((await rf.status()).leases).toBe(0);
  });

  test("by the module's own name where the node says what is wrong with it", async () => {
    await using at = await fresh();
    await using rf = await invoker({ node: at.node.address });
    const error = await failure(rf, at.module("empty.ts", "export const n = 1;\n"));
    expect(error.message).toBe(
      "empty.ts exports no function (only n); export one, as rfaas help invoke shows",
    );
    await using lease = await rf.allocate(at.module("named.ts", returns("'x'")));
    expect(said(lease)).toBe("x");
    expect(at.node.stderr).toContain("1 worker for named.ts");
  });
});

describe("a node", () => {
  test("says no to a package over its bound, and goes on", async () => {
    await using at = await fresh(["--package-limit", "100KiB"]);
    const path = at.module("fn.ts", returns("'x'"));
    at.module("large.bin", "m".repeat(200_000));
    await using rf = await invoker({ node: at.node.address });
    const error = await failure(rf, path, { include: ["large.bin"] });
    expect(error).toBeInstanceOf(PackageTooLarge);
    expect(error.message).toContain("takes 100 KiB; include less, or raise --package-limit");
    await using lease = await rf.allocate(path);
    expect(said(lease)).toBe("x");
  });

  test("does not know a hash that nobody has pushed, nor a path of its own", async () => {
    await using at = await fresh();
    await using rf = await invoker({ node: at.node.address });
    const hash = "ab".repeat(32);
    const error = await failure(rf, `package:${hash}`);
    expect(error).toBeInstanceOf(PackageUnknown);
    expect((error as PackageUnknown).hash).toBe(hash);
    expect(await failure(rf, "package:abc")).toBeInstanceOf(UsageError);
    expect((await rf.status()).leases).toBe(0);
  });

  test("with a cache folder that is of no use does not start", async () => {
    using scratch = new Scratch();
    const file = scratch.file("file", "");
    const { exitCode, stderr } = await rfaas([
      ...["serve", "--listen", scratch.join("s.sock"), "--cache", file],
    ]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("choose another one with rfaas serve --cache DIR");
  });

  test("gets each package once from a cluster's client, whose other nodes get it too", async () => {
    await using one = await fresh(["--cores", "2"]);
    await using two = await fresh(["--cores", "2"]);
    using first = await CountingWay.open(one.scratch.join("way.sock"), one.node.address);
    using second = await CountingWay.open(two.scratch.join("way.sock"), two.node.address);
    const path = one.module("fn.ts", returns("'x'"));
    await using rf = await invoker({
      nodes: [first.address, second.address],
    });
    for (let i = 0; i < 2; i++) {
      await using group = await rf.allocate(path, { workers: 4 });
      const answers = group.parts.map(({ firstWorker }) => saidOver(group, firstWorker));
      expect(await Promise.all(answers)).toEqual(["x", "x"]);
    }
    expect([first, second].map((way) => way.count("offer-package"))).toEqual([1, 1]);
  });
});

describe("rfaas package", () => {
  test("builds, pushes, lists, runs and removes", async () => {
    await using at = await fresh();
    const node = ["--node", at.node.address];
    at.module("app/asset.txt", "asset");
    const path = at.module(
      "app/fn.ts",
      `import { readFileSync } from "node:fs";\n${returns("readFileSync(import.meta.dir + '/asset.txt', 'utf8')")}`,
    );
    const built = await rfaas(["package", "build", path, "--include", "asset.txt"]);
    expect(built.exitCode).toBe(0);
    const archive = at.scratch.join("app/fn.rfaas");
    const before = await Bun.file(archive).bytes();
    await rfaas(["package", "build", path, "--include", "asset.txt", "-o", at.scratch.join("b")]);
    expect(await Bun.file(at.scratch.join("b")).bytes()).toEqual(before);
    expect((await rfaas(["invoke", `${archive}#say`, ...node])).stdout).toBe("asset");

    const hash = (await rfaas(["package", "push", archive, ...node])).stdout.trim();
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
    expect(built.stderr).toContain(hash);
    renameSync(at.scratch.join("app"), at.scratch.join("gone"));
    expect((await rfaas(["invoke", `package:${hash}#say`, ...node])).stdout).toBe("asset");

    const listed = JSON.parse((await rfaas(["package", "ls", "--json", ...node])).stdout);
    expect(listed.packages).toMatchObject([{ hash, name: "fn.ts", leases: 0 }]);
    expect((await rfaas(["package", "ls", ...node])).stdout).toContain(`${hash}  fn.ts`);
    expect((await rfaas(["package", "rm", hash.slice(0, 8), ...node])).exitCode).toBe(0);
    expect((await rfaas(["package", "rm", hash, ...node])).stderr).toContain("no package begins");
    const unknown = await rfaas(["invoke", `package:${hash}#say`, ...node]);
    expect(unknown.exitCode).toBe(1);
    expect(unknown.stderr).toContain("push it with: rfaas package push");
  });

  test("does not remove what a lease uses", async () => {
    await using at = await fresh();
    await using rf = await invoker({ node: at.node.address });
    const lease = await rf.allocate(at.module("fn.ts", returns("'x'")));
    const [stored] = await rf.packages.list();
    expect(stored!.leases).toBe(1);
    await expect(rf.packages.remove(stored!.hash)).rejects.toThrow("a lease uses package");
    await lease.release();
    await rf.packages.remove(stored!.hash);
    expect(await rf.packages.list()).toEqual([]);
  });

  test.each<[args: string[], says: string]>([
    [[], "package takes build, push, ls, rm"],
    [["frob"], "package takes build, push, ls, rm"],
    [["build"], "needs a module"],
    [["push"], "needs a module or a .rfaas file"],
    [["rm", "xyz"], "needs the hash"],
    [["ls", "more"], "takes no argument"],
  ])("%j is wrong usage", async (args, says) => {
    const { exitCode, stderr } = await rfaas(["package", ...args]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(says);
  });

  test("a damaged package file is refused with what to do", async () => {
    using scratch = new Scratch();
    const path = scratch.file("fn.ts", returns("'x'"));
    const archive = scratch.join("fn.rfaas");
    await rfaas(["package", "build", path]);
    const bytes = await Bun.file(archive).bytes();
    const half = bytes.subarray(0, bytes.length - 9);
    const changed = bytes.slice();
    changed[Buffer.from(bytes).lastIndexOf("say")]! ^= 1;
    for (const [content, says] of [
      [half, "not written to its end"],
      [new TextEncoder().encode("PK"), "no package of this version"],
      [changed, "do not have the hash"],
      [new TextEncoder().encode("rfaas package 1\n"), "make it again with: rfaas package build"],
    ] as const) {
      writeFileSync(archive, content);
      const { exitCode, stderr } = await rfaas(["invoke", archive], {
        env: { XDG_CACHE_HOME: scratch.path },
      });
      expect([exitCode, stderr]).toEqual([1, expect.stringContaining(says)]);
    }
  });
});

test("from an empty directory, invoke needs nothing but the module", async () => {
  using scratch = new Scratch();
  mkdirSync(scratch.join("empty"));
  mkdirSync(scratch.join("home"));
  const path = scratch.file("fn.ts", returns("'x'"));
  const { HOME: _, ...bare } = { HOME: "", XDG_CACHE_HOME: "", TMPDIR: scratch.path };
  const first = await rfaas(["invoke", path], {
    cwd: scratch.join("empty"),
    env: { ...bare, HOME: scratch.join("home") },
  });
  expect([first.stdout, first.stderr, first.exitCode]).toEqual(["x", "", 0]);
  const stored = [
    ...new Bun.Glob("home/.cache/rfaas/packages-1/stored/*/root/fn.js").scanSync({
      cwd: scratch.path,
      dot: true,
    }),
  ];
  expect(stored).toHaveLength(1);
});

test("a home that cannot be written is no obstacle: the cache goes to the temporary folder", async () => {
  using scratch = new Scratch();
  const path = scratch.file("fn.ts", returns("'x'"));
  const { stdout, exitCode } = await rfaas(["invoke", path], {
    env: { HOME: "/proc/nowhere", XDG_CACHE_HOME: "/proc/nowhere", TMPDIR: scratch.path },
  });
  expect([stdout, exitCode]).toEqual(["x", 0]);
  expect([
    ...new Bun.Glob("rfaas-cache-*/packages-1/stored/*/manifest").scanSync(scratch.path),
  ]).toHaveLength(1);
});
