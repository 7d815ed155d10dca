import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { EnvironmentError } from "../../src/base/errors.ts";
import { removeTree } from "../../src/executor/packages/sealing.ts";
import { OWN_USER, type PackageUser } from "../../src/executor/packages/space.ts";
import { PackageStore } from "../../src/executor/packages/store.ts";
import { type Package, pack } from "../../src/package/contents/package.ts";
import { Scratch } from "../support/scratch.ts";

let scratch: Scratch;
let store: PackageStore;
beforeEach(() => {
  scratch = new Scratch();
  store = new PackageStore({ folder: scratch.join("cache") });
});
afterEach(() => scratch[Symbol.dispose]());

const packageOf = (files: Record<string, string>): Promise<Package> =>
  pack(
    "fn.ts",
    Object.keys(files)[0]!,
    Object.entries(files).map(([path, text]) => ({
      ...{ path, content: new TextEncoder().encode(text), executable: false },
    })),
  );

async function put(to: PackageStore, made: Package, from = OWN_USER): Promise<void> {
  const upload = await to.receive(made.hash, made.manifestBytes.slice(), from);
  for (const index of upload.missing) {
    const content = made.contents.get(made.manifest.files[index]!.path) as Uint8Array;
    await upload.write(content.slice());
  }
  await upload.finish();
}

const failureOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

/** One whose manifest is too long to be read on the spot. */
const MANY = Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`file-${i}.js`, `// ${i}`]));

describe("a package", () => {
  test.each<[string, Record<string, string>]>([
    ["small", { "fn.js": "code", "data/a": "x" }],
    ["of many files", { "fn.js": "code", ...MANY }],
  ])(
    "that is %s is here once it was taken in, for other nodes of the folder, too",
    async (_, files) => {
      const made = await packageOf(files);
      expect(await store.use(made.hash, OWN_USER)).toBeUndefined();
      expect(await store.has(made.hash)).toBe(false);
      await put(store, made);
      const other = new PackageStore({ folder: scratch.join("cache") });
      for (const each of [store, other]) {
        const use = (await each.use(made.hash, OWN_USER))!;
        expect([use.name, readFileSync(use.path, "utf8")]).toEqual(["fn.ts", "code"]);
        use.end();
      }
      expect(readdirSync(join(store.folder, "users"))).toEqual([]);
    },
  );

  test("stays while a lease uses it, and is listed with how many do", async () => {
    const made = await packageOf({ "fn.js": "code" });
    await put(store, made);
    const uses = [await store.use(made.hash, OWN_USER), await store.use(made.hash, OWN_USER)];
    expect(await store.list()).toMatchObject([{ hash: made.hash, name: "fn.ts", leases: 2 }]);
    expect(await store.remove(made.hash)).toBe("in use");
    // A disk that was full has taken no mark.
    rmSync(join(store.folder, "users"), { recursive: true });
    expect(await store.remove(made.hash)).toBe("in use");
    for (const use of uses) use!.end();
  });

  test("that is removed is gone, and known as gone", async () => {
    const made = await packageOf({ "fn.js": "code" });
    await put(store, made);
    (await store.use(made.hash, OWN_USER))!.end();
    expect(await store.remove(made.hash)).toBe("removed");
    expect(await store.use(made.hash, OWN_USER)).toBeUndefined();
    expect(await store.remove(made.hash)).toBe("unknown");
    expect(await store.list()).toEqual([]);
  });

  test("that another node has removed is not handed out", async () => {
    const made = await packageOf({ "fn.js": "code" });
    await put(store, made);
    const use = (await store.use(made.hash, OWN_USER))!;
    use.end();
    removeTree(dirname(dirname(use.path)));
    expect(await store.use(made.hash, OWN_USER)).toBeUndefined();
  });

  test("that is not what it says is refused with our own code, and leaves nothing", async () => {
    const made = await packageOf({ "fn.js": "code" });
    const other = "0".repeat(64);
    expect(
      await failureOf(store.receive(other, made.manifestBytes.slice(), OWN_USER)),
    ).toMatchObject({
      code: "RFAAS_PACKAGE_INVALID",
    });
    const upload = await store.receive(made.hash, made.manifestBytes.slice(), OWN_USER);
    expect(await failureOf(upload.write(new TextEncoder().encode("evil")))).toMatchObject({
      code: "RFAAS_PACKAGE_INVALID",
    });
    await upload.abandon();
    expect(readdirSync(join(store.folder, "incoming"))).toEqual([]);
    await put(store, made);
  });
});

describe("a package that a function has changed in the cache", () => {
  const [ALICE, BOB] = ["alice", "bob"].map((name) => ({ name, shared: false })) as [
    PackageUser,
    PackageUser,
  ];

  /** Other bytes, as many as before and at the same time. */
  function tamper(path: string): void {
    const { mtime, size } = statSync(path);
    chmodSync(path, 0o644);
    writeFileSync(path, "evil".padEnd(size, " "));
    utimesSync(path, mtime, mtime);
  }

  test("is not handed out to another user than its sender, and is taken again", async () => {
    const said: string[] = [];
    const folder = scratch.join("cache");
    const node = new PackageStore({ folder, warn: (message) => said.push(message) });
    const made = await packageOf({ "fn.js": "code", "lib/a.js": "more" });
    await put(node, made, ALICE);
    const use = (await node.use(made.hash, ALICE))!;
    tamper(join(dirname(use.path), "lib/a.js"));
    expect(await node.use(made.hash, ALICE)).toBeDefined();
    expect(await node.use(made.hash, BOB)).toBeUndefined();
    expect(said).toEqual([
      `package fn.ts (${made.hash.slice(0, 12)}), sent by alice, was changed in the cache, and is removed`,
    ]);
    await put(node, made, BOB);
    const again = (await node.use(made.hash, BOB))!;
    expect(readFileSync(join(dirname(again.path), "lib/a.js"), "utf8")).toBe("more");
  });

  test("lends no other package the file that was changed", async () => {
    const asset = "m".repeat(5000);
    const first = await packageOf({ "fn.js": "one", "asset.bin": asset });
    await put(store, first, ALICE);
    const use = (await store.use(first.hash, ALICE))!;
    tamper(join(dirname(use.path), "asset.bin"));
    const second = await packageOf({ "fn.js": "two", "asset.bin": asset });
    await put(store, second, BOB);
    const root = dirname((await store.use(second.hash, BOB))!.path);
    expect(readFileSync(join(root, "asset.bin"), "utf8")).toBe(asset);
  });

  test("is found out by users of one name that several people share", async () => {
    const anyone = { name: "anonymous", shared: true };
    const made = await packageOf({ "fn.js": "code" });
    await put(store, made, anyone);
    // As after a start of the node, for which the name of the sender is in the cache.
    const node = new PackageStore({ folder: scratch.join("cache") });
    tamper(join(store.folder, "stored", made.hash, "root", "fn.js"));
    expect(await node.use(made.hash, anyone)).toBeUndefined();
  });
});

test("a folder that cannot be had is an error of the environment", async () => {
  const bad = new PackageStore({ folder: scratch.file("taken", "a file") });
  expect(await failureOf(bad.use("0".repeat(64), OWN_USER))).toBeInstanceOf(EnvironmentError);
  expect(() => bad.folder).toThrow(EnvironmentError);
});
