/** Modules that depend on packages with native code, as npm installs them. Needs npm's registry. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, renameSync } from "node:fs";
import { type Invoker, UsageError, invoker } from "../support/library.ts";
import { buildPackage } from "../../src/package/builder.ts";
import { RFAAS, ServedNode } from "../support/executable.ts";
import { doublingModel } from "../support/onnx.ts";
import { reachesRegistry } from "../support/registry.ts";
import { Scratch } from "../support/scratch.ts";

const registry = await reachesRegistry("sharp and onnxruntime-node");

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

const IMAGE = `import sharp from "sharp";
export async function shrink(input: Uint8Array, output: Uint8Array): Promise<number> {
  const background = { r: input[0]!, g: 0, b: 255 };
  const pixels = await sharp({ create: { width: 64, height: 64, channels: 3, background } })
    .png()
    .toBuffer()
    .then((png) => sharp(png).resize(2, 1).raw().toBuffer());
  output.set(pixels);
  return pixels.length;
}
`;
const INFERENCE = `import { InferenceSession, Tensor } from "onnxruntime-node";
const session = await InferenceSession.create(new URL("./model.onnx", import.meta.url).pathname);
export async function double(input: Uint8Array<ArrayBuffer>, output: Uint8Array): Promise<number> {
  const x = new Float32Array(input.slice().buffer);
  const { y } = await session.run({ x: new Tensor("float32", x, [x.length]) });
  output.set(new Uint8Array((y!.data as Float32Array).slice().buffer));
  return input.length;
}
`;

describe.skipIf(!registry)("with native code from npm", () => {
  let node: ServedNode;
  let rf: Invoker;
  beforeAll(async () => {
    process.env["RFAAS_EXECUTABLE"] = RFAAS;
    scratch.file("package.json", '{"private":true,"type":"module"}');
    const install = Bun.spawnSync(
      [
        "npm",
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "sharp",
        "onnxruntime-node",
      ],
      { cwd: scratch.path, stdout: "ignore", stderr: "pipe" },
    );
    if (install.exitCode !== 0) throw new Error(install.stderr.toString());
    node = await ServedNode.start(scratch.join("node.sock"), ["--cache", scratch.join("cache")]);
    rf = await invoker({ node: node.address });
  }, 300_000);
  afterAll(async () => {
    await rf.close();
    await node[Symbol.asyncDispose]();
  });

  test("sharp and onnxruntime-node run, from the node's cache alone", async () => {
    const image = scratch.file("image.ts", IMAGE);
    const inference = scratch.file("inference.ts", INFERENCE);
    await Bun.write(scratch.join("model.onnx"), doublingModel());
    const hashes = [
      await rf.packages.push(image),
      await rf.packages.push(inference, { include: ["model.onnx"] }),
    ];
    renameSync(scratch.join("node_modules"), scratch.join("gone"));
    try {
      const options = { loadTimeoutMs: 60_000 };
      await using shrinking = await rf.allocate(`package:${hashes[0]}`, options);
      const pixels = shrinking.output(Uint8Array, 64);
      const colour = shrinking.input(Uint8Array, 1).fill(7);
      expect(await shrinking.submit("shrink", colour, pixels)).toBe(6);
      expect([...pixels.slice(0, 6)]).toEqual([7, 0, 255, 7, 0, 255]);

      await using doubling = await rf.allocate(`package:${hashes[1]}`, options);
      const x = doubling.input(Float32Array, 3);
      x.set([1, 2.5, -3]);
      const y = doubling.output(Float32Array, 3);
      expect(await doubling.submit("double", x, y)).toBe(12);
      expect([...y]).toEqual([2, 5, -6]);
    } finally {
      renameSync(scratch.join("gone"), scratch.join("node_modules"));
    }
  }, 120_000);

  test("what is for other systems stays behind", async () => {
    const { package: made } = await buildPackage(scratch.join("inference.ts"));
    const paths = made.manifest.files.map(({ path }) => path);
    expect(paths.some((path) => /linux\/x64\/\w+\.node$/.test(path))).toBe(true);
    expect(paths.filter((path) => /\.(dll|dylib|exe)$|(darwin|win32).*\.node$/.test(path))).toEqual(
      [],
    );
    expect(paths).toContain("node_modules/onnxruntime-common/package.json");
  });
});

describe("an npm package", () => {
  /** node_modules with a package of native code below others; the code itself is never run. */
  function project(): Scratch {
    const place = new Scratch();
    const install = (
      at: string,
      name: string,
      dependencies: Record<string, string>,
      version = "1",
    ) => {
      mkdirSync(place.join(at), { recursive: true });
      place.file(
        `${at}/package.json`,
        JSON.stringify({ name, version, main: "index.js", dependencies }),
      );
      place.file(`${at}/index.js`, `exports.version = ${JSON.stringify(`${name}@${version}`)};\n`);
    };
    install("node_modules/top", "top", { middle: "1", absent: "1" });
    install("node_modules/middle", "middle", { top: "1", addon: "1", plain: "2" });
    install("node_modules/addon", "addon", {});
    place.file("node_modules/addon/addon.node", "native");
    install("node_modules/plain", "plain", {});
    install("node_modules/middle/node_modules/plain", "plain", {}, "2");
    mkdirSync(place.join("node_modules/addon/.cache"));
    place.file("node_modules/addon/.cache/junk", "junk");
    return place;
  }
  const pathsOf = async (path: string, options = {}) =>
    (await buildPackage(path, options)).package.manifest.files.map((file) => file.path);

  test("that depends on native code is brought along with all that it needs, each where it finds it", async () => {
    using place = project();
    const paths = await pathsOf(
      place.file(
        "fn.ts",
        'import { version } from "top";\nexport const f = () => version.length;\n',
      ),
    );
    expect(paths).toEqual([
      "fn.js",
      "node_modules/addon/addon.node",
      "node_modules/addon/index.js",
      "node_modules/addon/package.json",
      "node_modules/middle/index.js",
      "node_modules/middle/package.json",
      "node_modules/plain/index.js",
      "node_modules/plain/package.json",
      "node_modules/top/index.js",
      "node_modules/top/package.json",
    ]);
  });

  test("is there in two versions where two are needed", async () => {
    using place = project();
    const text =
      'import { version as a } from "top";\nimport { version as b } from "plain";\nexport const f = () => a.length + b.length;\n';
    const paths = await pathsOf(place.file("fn.ts", text), { external: ["plain"] });
    expect(paths).toContain("node_modules/plain/index.js");
    expect(paths).toContain("node_modules/middle/node_modules/plain/index.js");
  });

  test("without native code is joined with the module, as far as it is ES modules, or brought along as far as it is reached", async () => {
    using place = project();
    mkdirSync(place.join("node_modules/modern"));
    place.file("node_modules/modern/package.json", '{"name":"modern","type":"module"}');
    place.file("node_modules/modern/index.js", "export const modern = 1;\n");
    place.file("node_modules/modern/more.js", "export const more = 1;\n");
    place.file("node_modules/plain/more.js", "exports.more = 1;\n");
    const path = place.file(
      "fn.ts",
      'import { version } from "plain";\nimport { modern } from "modern";\nexport const f = () => version.length + modern;\n',
    );
    const plain = ["node_modules/plain/index.js", "node_modules/plain/package.json"];
    expect(await pathsOf(path)).toEqual(["fn.js", ...plain]);
    expect(await pathsOf(path, { external: ["modern", "plain"] })).toEqual([
      "fn.js",
      "node_modules/modern/index.js",
      "node_modules/modern/more.js",
      "node_modules/modern/package.json",
      "node_modules/plain/index.js",
      "node_modules/plain/more.js",
      "node_modules/plain/package.json",
    ]);
    // What only a run names may be named here, what nobody has installed may not.
    expect(await pathsOf(path, { external: ["top"] })).toContain("node_modules/top/package.json");
    await expect(pathsOf(path, { external: ["missing"] })).rejects.toBeInstanceOf(UsageError);
  });

  test("that is installed twice, once for each importer, comes twice", async () => {
    using place = project();
    mkdirSync(place.join("lib/node_modules/addon"), { recursive: true });
    place.file("lib/node_modules/addon/package.json", '{"name":"addon","main":"index.node"}');
    place.file("lib/node_modules/addon/index.node", "other");
    place.file("lib/a.ts", 'import "addon";\nexport const a = 1;\n');
    const path = place.file(
      "fn.ts",
      'import "addon";\nimport { a } from "./lib/a.ts";\nexport const f = () => a;\n',
    );
    const paths = await pathsOf(path);
    expect(paths).toContain("node_modules/addon/addon.node");
    expect(paths.filter((at) => at.endsWith("node_modules/addon/index.node"))).toHaveLength(1);
  });
});
