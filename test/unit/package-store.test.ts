import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { EnvironmentError } from "../../src/base/errors.ts";
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

async function put(to: PackageStore, made: Package): Promise<void> {
  const upload = await to.receive(made.hash, made.manifestBytes.slice());
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
      expect(await store.use(made.hash)).toBeUndefined();
      expect(await store.has(made.hash)).toBe(false);
      await put(store, made);
      const other = new PackageStore({ folder: scratch.join("cache") });
      for (const each of [store, other]) {
        const use = (await each.use(made.hash))!;
        expect([use.name, readFileSync(use.path, "utf8")]).toEqual(["fn.ts", "code"]);
        use.end();
      }
      expect(readdirSync(join(store.folder, "users"))).toEqual([]);
    },
  );

  test("stays while a lease uses it, and is listed with how many do", async () => {
    const made = await packageOf({ "fn.js": "code" });
    await put(store, made);
    const uses = [await store.use(made.hash), await store.use(made.hash)];
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
    (await store.use(made.hash))!.end();
    expect(await store.remove(made.hash)).toBe("removed");
    expect(await store.use(made.hash)).toBeUndefined();
    expect(await store.remove(made.hash)).toBe("unknown");
    expect(await store.list()).toEqual([]);
  });

  test("that another node has removed is not handed out", async () => {
    const made = await packageOf({ "fn.js": "code" });
    await put(store, made);
    const use = (await store.use(made.hash))!;
    use.end();
    rmSync(dirname(dirname(use.path)), { recursive: true, force: true });
    expect(await store.use(made.hash)).toBeUndefined();
  });

  test("that is not what it says is refused with our own code, and leaves nothing", async () => {
    const made = await packageOf({ "fn.js": "code" });
    const other = "0".repeat(64);
    expect(await failureOf(store.receive(other, made.manifestBytes.slice()))).toMatchObject({
      code: "RFAAS_PACKAGE_INVALID",
    });
    const upload = await store.receive(made.hash, made.manifestBytes.slice());
    expect(await failureOf(upload.write(new TextEncoder().encode("evil")))).toMatchObject({
      code: "RFAAS_PACKAGE_INVALID",
    });
    await upload.abandon();
    expect(readdirSync(join(store.folder, "incoming"))).toEqual([]);
    await put(store, made);
  });
});

test("a folder that cannot be had is an error of the environment", async () => {
  const bad = new PackageStore({ folder: scratch.file("taken", "a file") });
  expect(await failureOf(bad.use("0".repeat(64)))).toBeInstanceOf(EnvironmentError);
  expect(() => bad.folder).toThrow(EnvironmentError);
});
