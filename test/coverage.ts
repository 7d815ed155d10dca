/**
 * `npm run test:coverage`: how many lines of a node and of a manager the tests reach that start no process: unit and property. Prints
 * it by file; exits with 1 when a part falls below the bar.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const BAR_PERCENT = 70;
const SUITES = ["test/unit", "test/property"];

/** By part, its files. Those that only move processes, threads and descriptors are proven by the suites that have some. */
const PARTS: Readonly<Record<string, readonly string[]>> = {
  agent: ["agent.ts", "granting.ts", "leased-host.ts", "lease-*.ts", "host-pool.ts"].map(
    (name) => `src/executor/agent/${name}`,
  ),
  host: ["src/executor/host/host-machine.ts", "src/executor/host/news.ts"],
  reception: ["src/executor/agent/reception.ts", "src/manager/peers/reception.ts"],
  metering: ["src/executor/metering/*.ts"],
  bookkeeper: ["src/executor/accounts/*.ts"],
  "manager server": ["src/manager/*.ts", "src/manager/peers/*.ts"],
  http: ["src/manager/http/*.ts"],
};

interface Lines {
  found: number;
  hit: number;
}

/** Lines of each file, as `lcov` tells them. */
function readLcov(text: string): Map<string, Lines> {
  const files = new Map<string, Lines>();
  for (const record of text.split("end_of_record")) {
    const file = /^SF:(.+)$/m.exec(record)?.[1];
    const [found, hit] = ["LF", "LH"].map((name) =>
      Number(new RegExp(`^${name}:(\\d+)$`, "m").exec(record)?.[1] ?? 0),
    );
    if (file !== undefined) files.set(file, { found: found!, hit: hit! });
  }
  return files;
}

/** No test loads it, so which of its lines could run is unknown: all count. */
const unreached = (file: string): Lines => ({
  found: readFileSync(file, "utf8").split("\n").length,
  hit: 0,
});

const percent = ({ found, hit }: Lines): number => (found === 0 ? 0 : (100 * hit) / found);
const show = (lines: Lines): string => `${percent(lines).toFixed(1).padStart(6)} %`;

const folder = mkdtempSync(join(tmpdir(), "rfaas-coverage-"));
try {
  const { exitCode } = Bun.spawnSync(
    [
      ...[process.execPath, "test", "--timeout", "60000", "--coverage"],
      ...["--coverage-reporter=lcov", `--coverage-dir=${folder}`],
      ...(process.argv.length > 2 ? process.argv.slice(2) : SUITES),
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  const files = readLcov(readFileSync(join(folder, "lcov.info"), "utf8"));
  let low = exitCode !== 0;
  for (const [part, patterns] of Object.entries(PARTS)) {
    const sum: Lines = { found: 0, hit: 0 };
    const all = patterns.flatMap((pattern) => [...new Bun.Glob(pattern).scanSync(".")]).toSorted();
    const lines = all.map((file) => {
      const known = files.get(file) ?? unreached(file);
      sum.found += known.found;
      sum.hit += known.hit;
      return `  ${show(known)}  ${file}`;
    });
    console.log(`${show(sum)}  ${part}\n${lines.join("\n")}`);
    low ||= percent(sum) < BAR_PERCENT;
  }
  process.exitCode = low ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true });
}
