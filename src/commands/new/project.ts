/** The files of a new project of functions: small, working, tested. */
import packageJson from "../../../package.json" with { type: "json" };

export const CLIENT = "client.ts";

/** Path within the project, and text. */
export function projectFiles(name: string): Record<string, string> {
  return {
    [`${name}.ts`]: functionFile(),
    [CLIENT]: clientFile(name),
    [`${name}.test.ts`]: testFile(name),
    "package.json": `${JSON.stringify(
      {
        name,
        private: true,
        type: "module",
        scripts: { start: `rfaas run ${CLIENT}`, test: "rfaas test" },
        dependencies: { rfaas: "file:.rfaas" },
        devDependencies: { "bun-types": packageJson.devDependencies["bun-types"] },
      },
      null,
      2,
    )}\n`,
    "tsconfig.json": `${JSON.stringify(
      {
        compilerOptions: {
          target: "ESNext",
          lib: ["ESNext"],
          module: "Preserve",
          moduleResolution: "bundler",
          types: ["bun-types"],
          allowImportingTsExtensions: true,
          verbatimModuleSyntax: true,
          noEmit: true,
          strict: true,
          skipLibCheck: true,
        },
      },
      null,
      2,
    )}\n`,
    "README.md": readme(name),
    ".gitignore": "node_modules/\n",
  };
}

function functionFile(): string {
  return `import { Type, defineFunction } from "rfaas/function";

const Samples = Type.Object({ samples: Type.Array(Type.Number(), { minItems: 1 }) });
const Summary = Type.Object({ count: Type.Integer(), mean: Type.Number(), deviation: Type.Number() });

/** Mean and standard deviation of some samples. */
export const summarize = defineFunction(
  { input: Samples, output: Summary },
  ({ samples }, ctx) => {
    const count = samples.length;
    const mean = samples.reduce((sum, sample) => sum + sample, 0) / count;
    const variance = samples.reduce((sum, sample) => sum + (sample - mean) ** 2, 0) / count;
    if (variance === 0) ctx.log.warn("all samples are the same", { count });
    return { count, mean, deviation: Math.sqrt(variance) };
  },
);
`;
}

function clientFile(name: string): string {
  return `#!/usr/bin/env -S rfaas run
import { invoker } from "rfaas";
import type * as functions from "./${name}.ts";

const given = process.argv.slice(2).map(Number);
const samples = given.length > 0 ? given : [2, 4, 4, 4, 5, 5, 7, 9];

// A private node on this machine, unless RFAAS_NODE or RFAAS_MANAGER names others.
await using rf = await invoker();
await using lease = await rf.allocate<typeof functions>(new URL("./${name}.ts", import.meta.url));

const summarize = lease.function("summarize");
const { count, mean, deviation } = await summarize({ samples });
console.log(\`\${count} samples, mean \${mean}, standard deviation \${deviation}\`);
`;
}

function testFile(name: string): string {
  return `import { expect, test } from "bun:test";
import { testWorker } from "rfaas/testing";
import * as module from "./${name}.ts";

test("summarizes its samples", async () => {
  await using worker = await testWorker(module);
  const summarize = worker.function("summarize");
  expect(await summarize({ samples: [2, 4, 4, 4, 5, 5, 7, 9] })).toEqual({
    count: 8,
    mean: 5,
    deviation: 2,
  });
});

test("says when there is nothing to see", async () => {
  await using worker = await testWorker(module);
  await worker.function("summarize")({ samples: [3, 3] });
  expect(worker.logs).toMatchObject([{ level: "warn", message: "all samples are the same" }]);
});

test("wants at least one sample", async () => {
  await using worker = await testWorker(module);
  const refused = worker.function("summarize")({ samples: [] });
  await expect(refused).rejects.toThrow("/samples");
});
`;
}

function readme(name: string): string {
  return `# ${name}

\`\`\`sh
rfaas run ${CLIENT} 1 2 3 4                                       # calls the function
rfaas test                                                        # tests it
rfaas invoke ${name}.ts#summarize --json '{"samples":[1,2,3,4]}'
\`\`\`

\`.rfaas/\` and \`node_modules/\` have what editors and tests need of rfaas and Bun; after a \`git clone\`, or an update of rfaas,
\`rfaas new --kit\` in this folder writes it again. \`npm install\` works, too, and is needed for packages of your own.
`;
}
