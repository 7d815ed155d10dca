import { Type } from "@sinclair/typebox";
import type { Finding } from "../base/finding.ts";
import { examine } from "../doctor/machine.ts";
import { defineCommand } from "./shared/command.ts";
import { jsonField } from "./shared/fields.ts";
import { Progress, progressFields } from "./shared/progress.ts";

export const doctor = defineCommand({
  usage: "doctor",
  summary: "say what this machine can do, and how to fix what it cannot",
  description: `Looks at what rfaas needs and what makes it fast. Exits with 1 when something is missing without which it cannot run.`,
  options: Type.Object({ ...jsonField(), ...progressFields }),
  examples: [["rfaas doctor", "a line for each finding"]],
  async run(_args, options) {
    using progress = Progress.of(options);
    const findings = await examine((fabric) => progress.still(`trying the fabric ${fabric}`));
    progress.end();
    const { json } = options;
    process.stdout.write(json ? `${JSON.stringify({ findings })}\n` : findings.map(line).join(""));
    if (findings.some(({ state }) => state === "missing")) process.exitCode = 1;
  },
});

const MARKS = { ok: "ok  ", slow: "slow", missing: "MISS", off: "off " };

function line({ state, name, found, fix }: Finding): string {
  return `${MARKS[state]}  ${name.padEnd(14)} ${found}${fix ? `\n${" ".repeat(21)}fix: ${fix}` : ""}\n`;
}
