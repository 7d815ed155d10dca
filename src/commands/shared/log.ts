/** The log of a command: on stderr, always, so that stdout carries data only. */
import { type ConsolaInstance, LogLevels, createConsola } from "consola";

const level = (): number => {
  const named = process.env["RFAAS_LOG"];
  return named && Object.hasOwn(LogLevels, named)
    ? LogLevels[named as keyof typeof LogLevels]
    : LogLevels.info;
};

export const log: ConsolaInstance = createConsola({
  level: level(),
  stdout: process.stderr,
  stderr: process.stderr,
});
