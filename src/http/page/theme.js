// Chooses between light and dark before anything is painted: the reader's own choice, else the system's. Not a module, because modules wait.
(() => {
  const root = document.documentElement;
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const chosen = () => {
    try {
      return localStorage.getItem('claimr-relay-theme');
    } catch {
      return null;
    }
  };
  const current = () => root.dataset.theme ?? (dark.matches ? 'dark' : 'light');
  if (chosen()) root.dataset.theme = chosen();

  addEventListener('DOMContentLoaded', () => {
    const button = document.getElementById('theme');
    const label = () => button.setAttribute('aria-label', current() === 'dark' ? 'Use light colours' : 'Use dark colours');
    button.addEventListener('click', () => {
      root.dataset.theme = current() === 'dark' ? 'light' : 'dark';
      try {
        localStorage.setItem('claimr-relay-theme', root.dataset.theme);
      } catch {
        // Where nothing can be kept, the choice lasts as long as the page.
      }
      label();
    });
    dark.addEventListener('change', label);
    label();
  });
})();
