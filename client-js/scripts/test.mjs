// `node scripts/test.mjs unit|contract [node --test options]`: bundles the TypeScript tests and runs them.
import { spawnSync } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const [suite = 'unit', ...flags] = process.argv.slice(2);
const source = join(root, 'test', suite);
const out = join(root, '.work', suite);

rmSync(out, { recursive: true, force: true });
const files = readdirSync(source).filter((file) => file.endsWith('.test.ts'));
await build({
  entryPoints: files.map((file) => join(source, file)),
  outdir: out,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: 'inline',
  define: { ROOT: JSON.stringify(root) },
  logLevel: 'warning',
});
const built = files.map((file) => join(out, file.replace(/ts$/, 'mjs')));
const { status } = spawnSync(process.execPath, ['--enable-source-maps', '--test', ...flags, ...built], { stdio: 'inherit', cwd: root });
process.exitCode = status ?? 1;
