// Builds dist/: ES modules and their types by tsc, CommonJS twins of both, and one file for a script tag.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build, transform } from 'esbuild';

const root = join(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '..');
const dist = join(root, 'dist');

rmSync(dist, { recursive: true, force: true });
execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', root], { stdio: 'inherit' });

for (const file of readdirSync(dist, { recursive: true })) {
  const path = join(dist, file);
  if (path.endsWith('.d.ts')) {
    writeFileSync(path.replace(/\.d\.ts$/, '.d.cts'), toCommonNames(readFileSync(path, 'utf8')));
  } else if (path.endsWith('.js')) {
    const { code } = await transform(toCommonNames(readFileSync(path, 'utf8')), { format: 'cjs', target: 'es2022', platform: 'neutral' });
    writeFileSync(path.replace(/\.js$/, '.cjs'), code);
  }
}

await build({
  entryPoints: [join(root, 'src/script.ts')],
  outfile: join(dist, 'claimr-relay.min.js'),
  bundle: true,
  minify: true,
  format: 'iife',
  globalName: 'ClaimrRelay',
  target: 'es2022',
  logLevel: 'warning',
});

const hash = createHash('sha384').update(readFileSync(join(dist, 'claimr-relay.min.js'))).digest('base64');
writeFileSync(join(dist, 'claimr-relay.min.js.sri'), `sha384-${hash}\n`);

/** `./x.js` → `./x.cjs` in imports. */
function toCommonNames(text) {
  return text.replace(/(from |import\()(['"])(\.{1,2}\/[^'"]*)\.js\2/g, '$1$2$3.cjs$2');
}
