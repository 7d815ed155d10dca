/** Finds the operation that a request asks for, by its path and method. */
import { decoded } from "./request.ts";
import { HttpError, type Operation } from "./operation.ts";
import { OPERATIONS } from "./routes.ts";

interface Found {
  operation: Operation;
  /** Of the node in the path; empty where there is none. */
  name: string;
}

const ROUTES = OPERATIONS.map((operation) => ({
  operation,
  pattern: new RegExp(`^${operation.path.replace("{name}", "([^/]+)")}$`),
}));

/** Throws {@link HttpError}: 404 where no operation has the path, 405 where none has the method there. */
export function find(method: string, path: string): Found {
  const here = ROUTES.flatMap(({ operation, pattern }) => {
    const match = pattern.exec(path);
    return match ? [{ operation, name: match[1] ?? "" }] : [];
  });
  if (here.length === 0)
    throw new HttpError(404, "RFAAS_NOT_FOUND", "there is nothing here; see /openapi.json");
  const methods = here.map(({ operation }) => operation.method as string);
  allow(method, methods.includes("GET") ? [...methods, "HEAD"] : methods);
  const asked = method === "HEAD" ? "GET" : method;
  const found = here.find(({ operation }) => operation.method === asked)!;
  return { operation: found.operation, name: decoded(found.name, "name") };
}

/** Throws {@link HttpError} for a method that is not among `methods`. */
export function allow(method: string, methods: readonly string[]): void {
  if (methods.includes(method)) return;
  throw new HttpError(
    405,
    "RFAAS_METHOD",
    `${method} is not for this path; use ${methods.join(" or ")}`,
    { headers: { allow: methods.join(", ") } },
  );
}
