/** Typed functions with the schemas of the libraries that users have: values at run time, and types at compile time. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import {
  InvalidValue,
  ModuleLoadError,
  type Invoker,
  type TypedFunction,
  invoker,
} from "../support/library.ts";
import { testWorker } from "../../src/testing/index.ts";
import { RFAAS, ServedNode } from "../support/executable.ts";
import { LIBRARIES, SCHEMAS, installSchemaLibraries } from "../support/schema-libraries.ts";
import { Scratch } from "../support/scratch.ts";

const missing = await installSchemaLibraries();
if (missing) console.error(`SKIPPED: schema libraries: ${missing}`);

type Handle = TypedFunction<unknown, unknown>;
/** What has functions: a lease, several of them, a test's worker. */
interface Way extends AsyncDisposable {
  function(name: string): Handle;
}

let rf: Invoker;
let cluster: Invoker;
const nodes: ServedNode[] = [];
const scratch = new Scratch();
const path = (library: string) => join(SCHEMAS, "functions", `${library}.ts`);
const load = (library: string): Promise<Record<string, never>> => import(path(library));
const terms = { workers: 2, memory: "4MiB", polling: "warm" } as const;

const WAYS: Record<string, (library: string) => Promise<Way>> = {
  async "a lease"(library) {
    return await rf.allocate(path(library), terms);
  },
  async "a lease, with the definition"(library) {
    const lease = await rf.allocate(path(library), terms);
    const module = await load(library);
    return {
      function: (name) => lease.function(name, { definition: module[name]! }) as Handle,
      [Symbol.asyncDispose]: () => lease.release(),
    };
  },
  async "a group"(library) {
    return (await cluster.allocate(path(library), terms)) as Way;
  },
  async "a test worker"(library) {
    return (await testWorker<object>(await load(library))) as unknown as Way;
  },
};

/** Their schemas cannot be asked by promises. */
const SYNCHRONOUS: ReadonlySet<string> = new Set(["arktype", "typebox"]);

async function refused(call: Promise<unknown>): Promise<InvalidValue> {
  const error = await call.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(InvalidValue);
  return error as InvalidValue;
}

describe.skipIf(missing !== undefined)("schemas of", () => {
  beforeAll(async () => {
    process.env["RFAAS_EXECUTABLE"] = RFAAS;
    rf = await invoker({ cores: 2 });
    for (const name of ["a", "b"])
      nodes.push(
        await ServedNode.start(scratch.join(`${name}.sock`), ["--cores", "1", "--name", name]),
      );
    cluster = await invoker({ nodes: nodes.map(({ address }) => address) });
  });
  afterAll(async () => {
    await rf.close();
    await cluster.close();
    for (const node of nodes) await node[Symbol.asyncDispose]();
    scratch[Symbol.dispose]();
  });

  describe.each(LIBRARIES)("%s", (library) => {
    test.each(Object.keys(WAYS))("make and refuse the same values through %s", async (way) => {
      await using made = await WAYS[way]!(library);
      const area = made.function("area");
      expect(await area({ w: 2, h: 3 })).toBe(6);
      expect(area.invoke({ w: 4, h: 3 })).toBe(12);
      expect(await refused(area(7))).toMatchObject({ side: "input", path: "/" });
      expect(await refused(area({ w: 2, h: "3" }))).toMatchObject({ path: "/h" });

      // What a schema converts is converted once, whoever looks at it.
      const double = made.function("double");
      expect(await double({ n: "21" })).toBe("42!");
      expect(await Array.fromAsync(double.map([{ n: "1" }, { n: "2" }]))).toEqual(["2!", "4!"]);
      for (const each of await double.broadcast({ n: "5" }))
        expect(each).toEqual({ status: "fulfilled", value: "10!" });

      const greet = made.function("greet");
      expect(await greet({})).toEqual({ text: "hello you", times: 1 });
      expect(await greet({ name: "me", times: 3 })).toEqual({ text: "hello me", times: 3 });

      const tree = { value: 1, children: [{ value: 2, children: [{ value: 3, children: [] }] }] };
      expect(await made.function("sum")(tree)).toBe(6);

      const deep = made.function("deep");
      const inner = await refused(deep({ list: [{ n: 1 }, { n: "2" }] }));
      expect(inner).toMatchObject({ side: "input", path: "/list/1/n", functionName: "deep" });
      const outer = await refused(deep({ list: [] }));
      expect(outer).toMatchObject({ side: "output", path: "/list/0/n" });
      expect(await deep({ list: [{ n: 1 }] })).toEqual({ list: [{ n: 1 }] });

      if (SYNCHRONOUS.has(library)) return;
      const half = made.function("half");
      expect(await half(8)).toBe(4);
      expect(await refused(half(7))).toMatchObject({ side: "input", path: "/" });
    });
  });

  test.each(Object.keys(WAYS))("the user's TypeBox know its formats through %s", async (way) => {
    await using made = await WAYS[way]!("typebox");
    const mail = made.function("mail");
    expect(await mail({ to: "a@b", subject: "hello" })).toBe(true);
    expect(await refused(mail({ to: "a@b", subject: "goodbye" }))).toMatchObject({
      path: "/subject",
    });
    const noMail = await refused(mail({ to: "nobody", subject: "hello" }));
    expect(noMail).toMatchObject({ path: "/to", problem: expect.stringContaining("email") });
  });

  test("a module that changes its TypeBox's rules are checked by those alone", async () => {
    await using lease = await rf.allocate(path("typebox-rules"), terms);
    const odd = lease.function("odd");
    expect(await odd("abc")).toEqual([true, true, true]);
    expect(await refused(odd("ab"))).toMatchObject({ path: "/", problem: "it is not odd" });
    expect(await lease.function("nan")(NaN)).toBeNaN();
  });

  test("a module of CommonJS have its TypeBox's formats", async () => {
    await using lease = await rf.allocate(join(SCHEMAS, "functions", "typebox.cjs"), terms);
    expect(await lease.function("odd")("abc")).toBe(true);
    expect((await refused(lease.function("odd")("ab"))).problem).toContain("odd");
  });

  test("another TypeBox are refused where the function is defined, with what is wanted", async () => {
    const refused = await rf.allocate(path("typebox1")).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(ModuleLoadError);
    const { message } = refused as ModuleLoadError;
    expect(message).toContain("TypeBox 1.x");
    expect(message).toContain('import { Type } from "rfaas/function"');
  });

  test.each([
    ["bun check", [process.execPath, "check", "--no-script", "--all", "-p", "."]],
    ["tsc", [join(SCHEMAS, "node_modules", ".bin", "tsc"), "-p", "."]],
  ])(
    "have types on both sides, and wrong uses do not compile: %s",
    async (_, command) => {
      const compiler = Bun.spawn(command, { cwd: SCHEMAS, stdout: "pipe", stderr: "pipe" });
      const said = (await Promise.all([compiler.stdout.text(), compiler.stderr.text()])).join("");
      const exitCode = await compiler.exited;
      expect({ exitCode, said: exitCode === 0 ? "" : said }).toEqual({ exitCode: 0, said: "" });
    },
    300_000,
  );
});
