/** `rfaas serve --watch`: leases of a file go over to what it has become, without losing a call. */
import { beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { type Lease, LeaseLost, WorkerLost, invoker } from "../support/library.ts";
import { RFAAS, ServedNode } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

beforeAll(() => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
});

const FN = `import { text } from "./text.ts";
export const say = (_: Uint8Array, out: Uint8Array) => new TextEncoder().encodeInto(text, out).written;
export const slow = async (input: Uint8Array, out: Uint8Array) => {
  await Bun.sleep(300);
  return say(input, out);
};
`;

async function watched() {
  const scratch = new Scratch();
  scratch.file("text.ts", 'export const text = "one";\n');
  const path = scratch.file("fn.ts", FN);
  const node = await ServedNode.start(scratch.join("node.sock"), [
    ...["--cores", "4", "--cache", scratch.join("cache"), "--watch", path],
  ]);
  await until(() => node.stderr.includes(`watching ${path}`), "the file is watched");
  // A first build that ends when there is a lease is a reload, too.
  const stored = scratch.join("cache/packages-1/stored");
  const built = (): boolean => existsSync(stored) && readdirSync(stored).length > 0;
  await until(built, "the file is built");
  const rf = await invoker({ node: node.address });
  return {
    scratch,
    path,
    node,
    rf,
    /** How often it was built again. */
    reloads: () => node.stderr.match(/built again in/g)?.length ?? 0,
    async [Symbol.asyncDispose]() {
      await rf.close();
      await node[Symbol.asyncDispose]();
      scratch[Symbol.dispose]();
    },
  };
}

async function said(lease: Lease, worker = 0, name = "say"): Promise<string> {
  const output = lease.output(Uint8Array, 64);
  const input = lease.input(Uint8Array, 8);
  const written = await lease.submit(name, input, output, { worker });
  const text = new TextDecoder().decode(output.slice(0, written));
  lease.free(output);
  lease.free(input);
  return text;
}

test("a change of what the file imports reaches every worker of its leases", async () => {
  await using at = await watched();
  for (const polling of ["hot", "warm"] as const) {
    await using lease = await at.rf.allocate(at.path, { workers: 2, polling });
    at.scratch.file("text.ts", `export const text = "two ${polling}";\n`);
    for (const worker of [0, 1])
      await until(
        async () => (await said(lease, worker)) === `two ${polling}`,
        "the worker has gone over",
      );
    await using fresh = await at.rf.allocate(at.path);
    expect(await said(fresh)).toBe(`two ${polling}`);
  }
  expect(at.node.stderr).toMatch(/fn\.ts built again in [\d.]+ ms, for 1 lease$/m);
});

test("calls in flight end as what they began with, and none is lost", async () => {
  await using at = await watched();
  await using lease = await at.rf.allocate(at.path, { polling: "adaptive" });
  const slow = said(lease, 0, "slow");
  at.scratch.file("text.ts", 'export const text = "two";\n');
  let calls = 0;
  for (let text = "one"; text !== "two"; calls++) {
    text = await said(lease);
    expect(["one", "two"]).toContain(text);
  }
  expect(await slow).toBe("one");
  expect(calls).toBeGreaterThan(0);
});

test("results that did not fit are fetched before their worker goes over", async () => {
  await using at = await watched();
  at.scratch.file(
    "fn.ts",
    `import { Type, defineFunction } from "rfaas/function";\n${FN}
export const long = defineFunction({ input: Type.Null(), output: Type.String() }, () => text.repeat(2000));\n`,
  );
  await using lease = await at.rf.allocate(at.path);
  for (const text of ["two", "six"]) {
    at.scratch.file("text.ts", `export const text = "${text}";\n`);
    for (let last = ""; last !== text;) {
      // The first of a handle have too little room for what they come to.
      using long = lease.function("long");
      const all = (await Promise.all(Array.from({ length: 20 }, () => long(null)))) as string[];
      for (const got of all) expect(["one", "two", "six"]).toContain(got.slice(0, 3));
      expect(all.every((got) => got.length === 6000)).toBeTrue();
      last = all.at(-1)!.slice(0, 3);
    }
  }
}, 30_000);

test("a file that the module begins to import is found, and followed from then on", async () => {
  await using at = await watched();
  await using lease = await at.rf.allocate(at.path);
  at.scratch.file("other.ts", 'export const text = "other";\n');
  at.scratch.file("fn.ts", FN.replace("./text.ts", "./other.ts"));
  await until(async () => (await said(lease)) === "other", "the lease has gone over");
  at.scratch.file("other.ts", 'export const text = "another";\n');
  await until(async () => (await said(lease)) === "another", "the new file is followed");
});

test("leases of other modules stay as they are", async () => {
  await using at = await watched();
  const other = at.scratch.file("other.ts", 'export { say } from "./fn.ts";\n');
  await using lease = await at.rf.allocate(other);
  await using followed = await at.rf.allocate(at.path);
  at.scratch.file("text.ts", 'export const text = "two";\n');
  await until(async () => (await said(followed)) === "two", "the other lease has gone over");
  expect(await said(lease)).toBe("one");
});

test("what does not compile is told, and the old build stays until it does", async () => {
  await using at = await watched();
  await using lease = await at.rf.allocate(at.path);
  at.scratch.file("text.ts", "export const text = ;\n");
  await until(() => at.node.stderr.includes("stays as it was"), "the error is told");
  expect(at.node.stderr).toContain("text.ts:1:21: Unexpected ;");
  expect(await said(lease)).toBe("one");
  at.scratch.file("text.ts", 'export const text = "two";\n');
  await until(async () => (await said(lease)) === "two", "the lease has gone over");
});

test("other functions end the lease, with a reason", async () => {
  await using at = await watched();
  await using lease = await at.rf.allocate(at.path);
  const lost = Promise.withResolvers<string>();
  lease.on("lost", ({ message }) => lost.resolve(message));
  at.scratch.file("fn.ts", `${FN}export const more = () => 0;\n`);
  expect(await lost.promise).toContain(
    "fn.ts has other functions, or the same with other types, than when the lease was granted",
  );
  const error = await said(lease).catch((thrown: Error) => thrown);
  expect(error instanceof WorkerLost || error instanceof LeaseLost).toBe(true);
  await using fresh = await at.rf.allocate(at.path);
  expect(fresh.functions).toEqual(["more", "say", "slow"]);
});

test("a change that makes no difference reloads nothing", async () => {
  await using at = await watched();
  await using lease = await at.rf.allocate(at.path);
  at.scratch.file("text.ts", 'export const text = "one";\n');
  at.scratch.file("text.ts", 'export const text = "two";\n');
  await until(async () => (await said(lease)) === "two", "the lease has gone over");
  at.scratch.file("text.ts", 'export const text = "three";\n');
  await until(async () => (await said(lease)) === "three", "the lease has gone over");
  await until(() => at.reloads() >= 2, "the node has said so");
  expect(at.reloads()).toBe(2);
});

test("a file that is not there is wrong usage", async () => {
  using scratch = new Scratch();
  const start = ServedNode.start(scratch.join("n.sock"), ["--watch", scratch.join("none.ts")]);
  await expect(start).rejects.toThrow("there is no file");
});
